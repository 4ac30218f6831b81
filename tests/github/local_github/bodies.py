"""Response bodies: GitHub's own examples with the state overlaid."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from local_github.description import API, Description
from local_github.world import EPOCH, Account, Comment, PullRequest, Repository, Status

REPOSITORY = "/repos/{owner}/{repo}"
PULL = f"{REPOSITORY}/pulls/{{pull_number}}"
FILES = f"{REPOSITORY}/pulls/{{pull_number}}/files"
BLOB = f"{REPOSITORY}/git/blobs/{{file_sha}}"
PULLS = f"{REPOSITORY}/pulls"
PULLS_OF_COMMIT = f"{REPOSITORY}/commits/{{commit_sha}}/pulls"
COMMENT = f"{REPOSITORY}/issues/comments/{{comment_id}}"
PERMISSION = f"{REPOSITORY}/collaborators/{{username}}/permission"
STATUSES = f"{REPOSITORY}/statuses/{{sha}}"

Body = dict[str, Any]


class Bodies:
    """Builds bodies. GitHub's examples lag behind its schemas here and there; the gaps are filled."""

    def __init__(self, description: Description) -> None:
        self._description = description

    def current_user(self, who: Account) -> Body:
        """Who asks."""
        body: Body = self._description.example("/user", "get", 200)
        return {**body, "login": who.login, "notification_email": None, "user_view_type": "private"}

    def user(self, login: str, kind: str) -> Body:
        """A user or bot as it appears inside other bodies."""
        example: Body = self._description.example(COMMENT, "get", 200)
        return {**example["user"], "login": login, "type": kind}

    def repository(self, repository: Repository) -> Body:
        """A repository."""
        body: Body = self._description.example(REPOSITORY, "get", 200)
        for part in (body, body["parent"], body["source"], body["template_repository"]):
            part.setdefault("language", None)
        return {**body, "full_name": repository.full_name, "default_branch": repository.default_branch}

    def permission(self, username: str, role: str) -> Body:
        """What a collaborator may do: GitHub's four old levels, and the role beside them."""
        body: Body = self._description.example(PERMISSION, "get", 200)
        body.update(permission={"maintain": "write", "triage": "read"}.get(role, role), role_name=role)
        body["user"].update(login=username, role_name=role)
        return body

    def push(self, pull: PullRequest, index: int, push: Body) -> Body:
        """One activity of a head branch."""
        return {
            "id": 1296269 + index,
            "node_id": "PUS_lA",
            "ref": f"refs/heads/{pull.head_ref}",
            "activity_type": "push",
            "actor": self.user(pull.author, "User"),
            **push,
        }

    def comment(self, repository: Repository, comment: Comment) -> Body:
        """A comment."""
        url = f"{API}/repos/{repository.full_name}"
        page = f"https://github.com/{repository.full_name}/pull/{comment.number}"
        body: Body = self._description.example(COMMENT, "get", 200)
        body.update(
            id=comment.id,
            body=comment.body,
            url=f"{url}/issues/comments/{comment.id}",
            issue_url=f"{url}/issues/{comment.number}",
            html_url=f"{page}#issuecomment-{comment.id}",
            user=self.user(comment.author, comment.kind),
        )
        return body

    def status(self, repository: Repository, status: Status) -> Body:
        """A commit status."""
        body: Body = self._description.example(STATUSES, "post", 201)
        body.update(
            id=status.id,
            url=f"{API}/repos/{repository.full_name}/statuses/{status.sha}",
            state=status.state,
            context=status.context,
            description=status.description,
            target_url=status.target_url,
        )
        body["creator"]["login"] = status.creator
        return body

    def pull(self, repository: Repository, pull: PullRequest, template: str = PULL) -> Body:
        """A pull request, whole or as an item of one of the lists."""
        example = self._description.example(template, "get", 200)
        body: Body = example[0] if isinstance(example, list) else example
        name = repository.full_name
        body.update(
            number=pull.number,
            state=pull.state,
            url=f"{API}/repos/{name}/pulls/{pull.number}",
            issue_url=f"{API}/repos/{name}/issues/{pull.number}",
            html_url=f"https://github.com/{name}/pull/{pull.number}",
            merge_commit_sha=pull.merge_commit_sha,
            **({"changed_files": len(pull.files)} if template == PULL else {}),
            labels=[{**body["labels"][0], "name": label} for label in pull.labels],
            requested_teams=[],
        )
        body["user"]["login"] = pull.author
        self._overlay_side(body["base"], pull.base_sha, pull.base_ref, name, repository)
        head_name = pull.head_repository(name)
        self._overlay_side(body["head"], pull.head_sha, pull.head_ref, head_name, repository)
        if pull.fork_deleted:
            body["head"]["repo"] = None
        return body

    def changed_file(self, repository: Repository, pull: PullRequest, file: Body) -> Body:
        """One file of a pull request."""
        body: Body = self._description.example(FILES, "get", 200)[0]
        body.update(
            filename=file["filename"],
            status=file.get("status", "modified"),
            sha=self.blob_sha(file.get("content", "")),
            contents_url=f"{API}/repos/{repository.full_name}/contents/{file['filename']}?ref={pull.head_sha}",
        )
        if "previous_filename" in file:
            body["previous_filename"] = file["previous_filename"]
        return body

    def blob(self, content: str) -> Body:
        """A file's content as git's database holds it."""
        body: Body = self._description.example(BLOB, "get", 200)
        raw = content.encode()
        encoded = base64.encodebytes(raw).decode()
        body.update(content=encoded, encoding="base64", sha=self.blob_sha(content), size=len(raw))
        return body

    @staticmethod
    def blob_sha(content: str) -> str:
        """Git's name for a file with that content."""
        raw = content.encode()
        return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()

    def _overlay_side(self, side: Body, sha: str, ref: str, full_name: str, home: Repository) -> None:
        owner, name = full_name.split("/")
        side.update(sha=sha, ref=ref, label=f"{owner}:{ref}")
        side["user"]["login"] = owner
        side["repo"].update(
            full_name=full_name,
            name=name,
            fork=full_name != home.full_name,
            default_branch=home.default_branch,
        )
        side["repo"]["owner"]["login"] = owner

    def timeline_event(self, repository: Repository, index: int, event: Body) -> Body:
        """One event of a pull request's timeline; commits carry dates that their author chose."""
        url = f"{API}/repos/{repository.full_name}"
        if event["event"] == "committed":
            return self._committed(url, event)
        body = {
            "event": event["event"],
            "id": 5000 + index,
            "node_id": "LE_1",
            "url": f"{url}/issues/events/{5000 + index}",
            "actor": self.user(event["actor"], event.get("kind", "User")),
            "commit_id": event.get("commit_id"),
            "commit_url": None,
            "created_at": event["at"],
            "performed_via_github_app": None,
        }
        if "label" in event:
            body["label"] = {"name": event["label"], "color": "ededed"}
        return body

    def _committed(self, url: str, event: Body) -> Body:
        person = {"name": "A", "email": "a@example.org", "date": event.get("at", EPOCH)}
        sha = event["sha"]
        unsigned = {"verified": False, "reason": "unsigned", "signature": None, "payload": None}
        return {
            "event": "committed",
            "sha": sha,
            "node_id": "C_1",
            "url": f"{url}/git/commits/{sha}",
            "html_url": f"{url}/commit/{sha}",
            "author": person,
            "committer": person,
            "message": "A commit",
            "parents": [],
            "tree": {"sha": sha, "url": f"{url}/git/trees/{sha}"},
            "verification": {**unsigned, "verified_at": None},
        }

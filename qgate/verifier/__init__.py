"""From a planned target or an ad-hoc pair to ``verify``: where the bytes come from and who judges."""

"""What all tests share: generated input is the same in every run, so that a red run can be run again."""

from hypothesis import settings

settings.register_profile("qgate", derandomize=True, database=None)
settings.load_profile("qgate")

"""Who signed the candidate: OpenSSF Model Signing, verified offline against what the trusted side names."""

//! Carries a crowd's requests to a server and its answers back, open-loop.

//! Administrator's command line and the three programs.

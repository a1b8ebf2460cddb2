//! Data plane as a library.

//! Metadata daemon as a library.

//! Integration tests of the data plane.

#[cfg(test)]
mod nbd;

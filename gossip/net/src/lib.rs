//! QUIC endpoint with mutual TLS identity.

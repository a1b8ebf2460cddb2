//! Local API of the metadata daemon: messages and client.

//! Metadata store: sled behind a port, one writer, watch, local API server.

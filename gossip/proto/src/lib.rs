//! Gossip protocol core as a state machine.

//! Deterministic simulation of many nodes.

//! Real daemons on the loopback network, driven over their local APIs.

mod clocks;
mod cluster;
mod giving_way;
mod membership;
mod node;
mod outside;
mod put_back;
mod removal;
mod store_fails;

//! The administrator's command line, the configuration of the daemons, and the sandbox.

#![forbid(unsafe_code)]

pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod contract;
pub mod daemon;
pub mod disk;
pub mod error;
pub mod error_code;
pub mod events;
pub mod explain;
pub mod following;
pub mod gone;
pub mod hooks;
pub mod keys;
pub mod legacy_options;
pub mod limits;
pub mod macros;
pub mod output;
mod outside;
pub mod parse_error;
pub mod plane;
pub mod regular;
pub mod run;
pub mod sandbox;
pub mod shown;
pub mod signals;
pub mod size;
pub mod snapshot;
pub mod status;
pub mod store_export;
pub mod suggest;
pub mod systemd;
pub mod terminal;
pub mod top;
mod trust;
pub mod ui;
pub mod value_rules;
pub mod wait;
pub mod wall;

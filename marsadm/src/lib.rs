//! The administrator's command line, the configuration of the daemons, and the sandbox.

#![forbid(unsafe_code)]

pub mod cli;
pub mod commands;
pub mod config;
pub mod context;
pub mod daemon;
pub mod disk;
pub mod error;
pub mod explain;
pub mod keys;
pub mod limits;
pub mod macros;
pub mod run;
pub mod sandbox;
pub mod shown;
pub mod size;
pub mod snapshot;
pub mod status;
pub mod top;
pub mod ui;
pub mod wait;

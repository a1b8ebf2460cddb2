//! Tests of the formats and machines from outside.

mod format;
mod logger;
mod replay;
mod superblock;
mod support;

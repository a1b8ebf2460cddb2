//! Tests of the formats and machines from outside.

#[cfg(test)]
mod format;
#[cfg(test)]
mod logger;
#[cfg(test)]
mod logger_steps;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod superblock;
#[cfg(test)]
mod support;

//! Append writers and disks on real files.

#[cfg(test)]
mod append;
#[cfg(test)]
mod disk;

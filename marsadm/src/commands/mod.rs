//! The commands, one file each.

pub mod check;
pub mod clock;
pub mod create_cluster;
pub mod create_resource;
pub mod delete_file;
pub mod down;
pub mod explain;
pub mod export_tree;
pub mod get_link;
pub mod import_tree;
pub mod invalidate;
pub mod join_cluster;
pub mod join_resource;
pub mod join_token;
pub mod leave_resource;
pub mod list_links;
pub mod log_convert;
pub mod log_dump;
pub mod log_file;
pub mod log_verify;
pub mod lowlevel_ls_host_ips;
pub mod primary;
pub mod secondary;
pub mod set_link;
pub mod snapshot;
pub mod status;
pub mod switches;
pub mod top;
pub mod up;
pub mod view;
pub mod wait_cluster;
pub mod wait_resource;

mod each;
mod raw;
mod roles;
mod uptodate;

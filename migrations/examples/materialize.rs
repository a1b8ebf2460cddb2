//! Builds a legacy tree from its listing: `cargo run -p mars-migrations --example materialize LISTING DIR`.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listing, dir] = args.as_slice() else {
        return Err("two arguments are needed: LISTING DIR".into());
    };
    let tsv = std::fs::read_to_string(listing)
        .map_err(|error| format!("'{listing}' cannot be read: {error}"))?;
    mars_migrations::testing::materialize(&tsv, Path::new(dir))?;
    Ok(())
}

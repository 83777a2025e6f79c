//! Writes the seeds of every target to `corpus/TARGET/`, and prints the targets' names.

use std::fs;
use std::path::Path;

use frazil_fuzz::seed::{TARGETS, seeds};

fn main() -> std::io::Result<()> {
    let root = std::env::args().nth(1).unwrap_or_else(|| "corpus".into());
    for target in TARGETS {
        let place = Path::new(&root).join(target);
        fs::create_dir_all(&place)?;
        for (number, seed) in seeds(target).iter().enumerate() {
            fs::write(place.join(format!("seed-{number}")), seed)?;
        }
        println!("{target}");
    }
    Ok(())
}

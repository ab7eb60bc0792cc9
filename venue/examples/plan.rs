//! Imports a plan and prints its report, or writes a stadium as CSV.
//!
//! ```sh
//! cargo run --example plan -- examples/venues/riethsporthalle-erfurt.json
//! cargo run --example plan -- --stadium 50000 > stadium.csv
//! ```

use std::error::Error;
use std::io;

use frontrow_venue::stadium::{StadiumSpec, generate};
use frontrow_venue::{csv, import};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--stadium", seats] => {
            let plan = generate(&StadiumSpec::new(seats.parse()?))?;
            csv::export(&plan, io::stdout().lock())?;
        }
        [file] => {
            let bytes = std::fs::read(file)?;
            let (_, report) = import(&bytes, Some(file), file)?;
            print!("{report}");
        }
        _ => return Err("give a file, or --stadium and a number of seats".into()),
    }
    Ok(())
}

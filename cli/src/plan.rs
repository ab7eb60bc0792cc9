//! Seating plans, without a server.

use crate::args::Plan;
use crate::failure::Failure;
use crate::show::Out;
use frontrow_venue::{ImportErrors, csv, import, stadium};
use serde_json::json;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

pub(crate) fn run(args: &Plan, out: Out) -> Result<(), Failure> {
    match (args.stadium, &args.file) {
        (Some(seats), to) => write_stadium(seats, to.as_deref(), out),
        (None, Some(file)) => report(file, args.csv.as_deref(), out),
        (None, None) => Err(Failure::Usage("give a plan, or --stadium and a number of seats".into())),
    }
}

/// Reads a file that somebody named.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        Failure::Usage(format!("{} cannot be read: {error}; check the path", file.display()))
    })
}

fn report(file: &Path, csv_name: Option<&str>, out: Out) -> Result<(), Failure> {
    let bytes = read(file)?;
    let stem = file.file_stem().map_or_else(String::new, |it| it.to_string_lossy().into_owned());
    let imported = match csv_name {
        Some(name) => csv::import(&bytes, name),
        None => import(&bytes, file.to_str(), &stem),
    };
    let (_, report) = imported.map_err(|errors| mistakes(&errors))?;
    out.say(&json!({"ok": true, "report": report}), report.to_string().trim_end());
    Ok(())
}

fn mistakes(errors: &ImportErrors) -> Failure {
    let message = format!("the plan has {} mistakes; correct them:\n{errors}", errors.count());
    Failure::Refused { code: "bad_plan", message }
}

fn write_stadium(seats: u32, to: Option<&Path>, out: Out) -> Result<(), Failure> {
    let plan = stadium::generate(&stadium::StadiumSpec::new(seats))
        .map_err(|error| Failure::Usage(error.to_string()))?;
    let failed = |error: io::Error| {
        Failure::Usage(format!("the plan cannot be written: {error}; choose another file"))
    };
    let Some(to) = to else {
        let mut text = io::BufWriter::new(io::stdout().lock());
        return csv::export(&plan, &mut text).and_then(|()| text.flush()).map_err(failed);
    };
    let mut text = io::BufWriter::new(File::create(to).map_err(failed)?);
    csv::export(&plan, &mut text).and_then(|()| text.flush()).map_err(failed)?;
    let json = json!({"ok": true, "file": to, "seats": plan.seat_count(), "sections": plan.sections.len()});
    let text = format!("{}: {} seats in {} sections.", to.display(), plan.seat_count(), plan.sections.len());
    out.say(&json, text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Out = Out { json: true };

    #[test]
    fn a_made_up_stadium_can_be_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stadium.csv");
        let write = Plan { file: Some(file.clone()), csv: None, stadium: Some(700) };
        run(&write, QUIET).unwrap();
        run(&Plan { file: Some(file.clone()), csv: None, stadium: None }, QUIET).unwrap();
        run(&Plan { file: Some(file.clone()), csv: Some("Arena".into()), stadium: None }, QUIET).unwrap();
        std::fs::write(&file, "section,row,seat\nA,1,1\nA,1,1\n").unwrap();
        let failure = run(&Plan { file: Some(file), csv: None, stadium: None }, QUIET).unwrap_err();
        assert_eq!(failure.exit_code(), 1);
        assert!(failure.text().contains("line 3"), "{}", failure.text());
        let absent = Plan { file: Some(folder.path().join("absent")), csv: None, stadium: None };
        assert_eq!(run(&absent, QUIET).unwrap_err().exit_code(), 2);
    }
}

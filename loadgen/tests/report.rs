//! Reports of made-up runs: written, read, shown, compared, fitted.

mod made_up;

#[path = "report/acting.rs"]
mod acting;
#[path = "report/answers.rs"]
mod answers;
#[path = "report/codes.rs"]
mod codes;
#[path = "report/comparing.rs"]
mod comparing;
#[path = "report/files.rs"]
mod files;
#[path = "report/pages.rs"]
mod pages;
#[path = "report/planning.rs"]
mod planning;

//! What peers are compared with.

use crate::LoadError;
use crate::table::{Subject, TableOptions};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `frontrow-loadgen peers`.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("duration_ms", |arg| arg.default_value("500")))]
pub struct PeersOptions {
    /// As for the first table.
    #[command(flatten)]
    pub table: TableOptions,
    /// What is measured; ratios need both of their sides. [default: everything]
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Subject>,
    /// Claims in flight on one connection to a durable Frontrow, one more line each.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    pub batches: Vec<usize>,
}

impl PeersOptions {
    /// What `--quick` makes of the options.
    #[must_use]
    pub fn settled(self) -> Self {
        let batches = if self.table.quick { vec![100] } else { self.batches };
        Self { table: self.table.settled(), batches, ..self }
    }

    /// An error that names the first option that cannot be.
    pub fn check(&self) -> Result<(), LoadError> {
        self.table.check()?;
        if self.batches.iter().any(|batch| !(1..=1024).contains(batch)) {
            let what = "--batches are numbers from 1 to 1024, a server's default limit of requests in flight";
            return Err(LoadError::Option(what.to_owned()));
        }
        Ok(())
    }

    /// What is measured, in the order of a round.
    pub(crate) fn subjects(&self) -> Vec<Subject> {
        let default = |subject: &Subject| match subject {
            Subject::Backup => self.table.backup,
            Subject::Bookings => self.table.bookings,
            Subject::Kafka => self.table.kafka,
            _ => true,
        };
        let wanted = |subject: &Subject| {
            if self.only.is_empty() { default(subject) } else { self.only.contains(subject) }
        };
        Subject::value_variants().iter().copied().filter(wanted).collect()
    }

    /// Where the report goes, if anywhere.
    pub fn out_folder(&self, date: &str) -> Option<PathBuf> {
        self.table.folder_of(date, "peers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: PeersOptions,
    }

    fn options(line: &str) -> PeersOptions {
        Line::parse_from(line.split(' ')).options
    }

    #[test]
    fn only_chooses_and_keeps_the_order() {
        let mut all = Subject::value_variants().to_vec();
        assert_eq!(options("peers --backup --bookings --kafka").subjects(), all);
        all.retain(|subject| ![Subject::Backup, Subject::Bookings, Subject::Kafka].contains(subject));
        assert_eq!(options("peers").subjects(), all);
        let few = options("peers --only postgres-id,echo,redis-always").subjects();
        assert_eq!(few, [Subject::Echo, Subject::RedisAlways, Subject::PostgresId]);
        assert!(Line::try_parse_from(["peers", "--only", "oracle"]).is_err());
        for subject in Subject::value_variants() {
            let named = subject.to_possible_value().map(|value| value.get_name().to_owned());
            assert_eq!(named.as_deref(), Some(subject.name()));
        }
    }

    #[test]
    fn mistakes_name_the_option() {
        assert_eq!(options("peers").table.duration_ms, 500);
        assert!(options("peers --quick").settled().check().is_ok());
        let error = options("peers --batches 5000").check().expect_err("too many").to_string();
        assert!(error.contains("--batches"), "{error}");
    }
}

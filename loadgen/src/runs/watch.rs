//! Everything that looks on while a load runs: observer, series, progress.

use crate::crowd::Books;
use crate::drive::Tally;
use crate::observe::observer::Observer;
use crate::observe::progress::Progress;
use crate::observe::series::Series;
use crate::options::LoadOptions;
use crate::report::model::Sample;
use crate::runs::site::Site;

/// Seconds between two samples.
pub(crate) const EVERY_S: f64 = 1.0;
/// With tiny inputs.
const QUICK_EVERY_S: f64 = 0.1;

/// Who looks on, over all stages of a run.
#[derive(Debug)]
pub(crate) struct Watch {
    observer: Observer,
    series: Series,
    pub(crate) progress: Progress,
}

impl Watch {
    /// Begins to look. Takes the server's process out of `site`.
    pub(crate) async fn begin(site: &mut Site, options: &LoadOptions) -> Self {
        let every_s = if options.quick { QUICK_EVERY_S } else { EVERY_S };
        Self {
            observer: Observer::new(site.http.clone(), site.process.take()).await,
            series: Series::new(every_s),
            progress: Progress::new(options.quiet),
        }
    }

    /// Seconds since the beginning.
    pub(crate) fn seconds(&self) -> f64 {
        self.observer.seconds()
    }

    /// Whether the server shows its metrics.
    pub(crate) async fn server_answers(&self) -> bool {
        self.observer.answers().await
    }

    /// Resident memory of the server's process in bytes, now, if it is on this machine.
    pub(crate) fn server_rss(&self) -> Option<u64> {
        self.observer.server_rss()
    }

    /// Takes and shows one sample.
    pub(crate) async fn look(
        &mut self,
        tally: &Tally,
        in_flight: u64,
        books: &Books,
        seats: u64,
        at_s: f64,
    ) -> Sample {
        let sample = self.observer.sample(tally, in_flight, books).await;
        self.progress.show(&sample, seats, books.violations, at_s);
        self.series.push(sample.clone());
        sample
    }

    /// All samples, and the seconds that each stands for.
    pub(crate) fn end(self) -> (Vec<Sample>, f64) {
        self.progress.done();
        self.series.finish()
    }
}

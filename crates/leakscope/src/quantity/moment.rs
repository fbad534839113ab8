//! The sources at one moment, each read when a quantity first asks for it, and once.

use std::cell::OnceCell;

use crate::{
    jemalloc::{Books, read_books},
    memory::{self, Report},
    proc::{Cgroup, Process},
};

/// One moment. What was read stays as it was until the next one.
pub(crate) struct Moment<'a> {
    process: &'a Process,
    /// The cgroup that holds this process alone and has the limit in force; `None`: RSS counts instead.
    own_cgroup: Option<&'a Cgroup>,
    rss_bytes: OnceCell<Option<i64>>,
    books: OnceCell<Option<Books>>,
    report: OnceCell<Report>,
}

impl<'a> Moment<'a> {
    pub fn new(process: &'a Process, own_cgroup: Option<&'a Cgroup>) -> Self {
        Self {
            process,
            own_cgroup,
            rss_bytes: OnceCell::new(),
            books: OnceCell::new(),
            report: OnceCell::new(),
        }
    }

    pub fn rss_bytes(&self) -> Option<i64> {
        *self.rss_bytes.get_or_init(|| self.process.statm().ok().map(|statm| statm.rss_bytes as i64))
    }

    pub fn usage_bytes(&self) -> Option<i64> {
        let of_cgroup = self.own_cgroup.and_then(Cgroup::working_set_bytes);
        of_cgroup.map(|bytes| bytes as i64).or_else(|| self.rss_bytes())
    }

    /// jemalloc's books; `None` where it is not the program's allocator.
    pub fn books(&self) -> Option<&Books> {
        self.books.get_or_init(|| read_books().ok()).as_ref()
    }

    /// The whole report: milliseconds.
    pub fn report(&self) -> &Report {
        self.report.get_or_init(memory::report)
    }
}

//! A program that allocates with something else: no macro here.

use leakscope::heap::{Error, Profiler};

#[test]
fn says_that_jemalloc_is_not_the_allocator() {
    let profiler = Profiler::start();
    let problem = profiler.status().problem.clone().expect("jemalloc is not the allocator");
    assert!(
        problem.contains("does not allocate with jemalloc") && problem.contains("leakscope::jemalloc!()"),
        "{problem}"
    );
    assert!(matches!(profiler.snapshot(), Err(Error::Off(text)) if text == problem));
}

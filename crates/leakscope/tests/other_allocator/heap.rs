//! The heap profiler, and the instrument as a whole.

use leakscope::{heap::Error, jemalloc::Profiler};

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

#[test]
#[cfg(feature = "axum")]
fn the_whole_instrument_starts_and_says_what_it_can_t_do() {
    use std::sync::{Arc, Mutex};

    let told = Arc::new(Mutex::new(Vec::new()));
    let leakscope = leakscope::Leakscope::builder()
        .on_problem({
            let told = Arc::clone(&told);
            move |problem| told.lock().unwrap().push(problem.to_owned())
        })
        .start();
    assert_eq!(*told.lock().unwrap(), leakscope.problems());
    for says in ["heap profiling is off", "requests are not measured", "live heap"] {
        let problems = leakscope.problems();
        assert!(problems.iter().any(|problem| problem.contains(says)), "{says}: {problems:#?}");
    }
}

//! Where work that blocks is done.

use std::sync::Arc;

/// Runs what blocks for milliseconds (files under /proc, a heap dump, writing an event down) off the async threads.
///
/// # Panics
/// As `work` does.
pub async fn off_runtime<S: Send + Sync + 'static, T: Send + 'static>(
    state: &Arc<S>,
    work: impl FnOnce(&S) -> T + Send + 'static,
) -> T {
    let state = Arc::clone(state);
    match tokio::task::spawn_blocking(move || work(&state)).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

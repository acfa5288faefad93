//! Many things at once, as in life.

use std::future::Future;

/// Runs them all at the same time, each as a task of its own; their results in the same order.
///
/// # Panics
/// If one of them panics.
pub async fn at_once<T, F>(futures: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

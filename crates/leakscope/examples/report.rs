//! Prints the memory report as JSON: `cargo run -p leakscope --example report`.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string_pretty(&leakscope::memory::report())?);
    println!("{}", serde_json::to_string(&leakscope::memory::limit(None))?);
    Ok(())
}

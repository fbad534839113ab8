//! jemalloc's own statistics, and what can be derived from them. It knows jemalloc's books, not the kernel's.

use std::{hint::black_box, sync::LazyLock};

use tikv_jemalloc_ctl::{Result, epoch, raw, stats, thread};

use super::{Books, Jemalloc, Sampled};

/// `MALLCTL_ARENAS_ALL`: the statistics of all arenas together.
const ALL: usize = 4096;

/// Reads the statistics; an error says why there are none.
pub(crate) fn read() -> std::result::Result<Books, &'static str> {
    if !*IS_ALLOCATOR {
        return Err(
            "the program's allocator is not jemalloc: live heap, dirty pages and overhead can't be told apart, all are unaccounted",
        );
    }
    KEYS.as_ref()
        .and_then(|keys| keys.read().ok())
        .ok_or("jemalloc was built without statistics: its parts are unaccounted")
}

/// jemalloc answers even if nothing is allocated with it: allocate, and see whether a counter moves.
static IS_ALLOCATOR: LazyLock<bool> = LazyLock::new(|| {
    let Ok(counter) = thread::allocatedp::read() else { return false };
    let before = counter.get();
    drop(black_box(Box::new([0u8; 64])));
    counter.get() > before
});

static KEYS: LazyLock<Option<Keys>> = LazyLock::new(|| Keys::open().ok());

/// Keys of the statistics, looked up once: a read by name costs five times as much.
struct Keys {
    epoch: tikv_jemalloc_ctl::epoch_mib,
    allocated: stats::allocated_mib,
    active: stats::active_mib,
    resident: stats::resident_mib,
    metadata: stats::metadata_mib,
    retained: stats::retained_mib,
    mapped: stats::mapped_mib,
    internal: [usize; 4],
    thread_caches: [usize; 4],
    dirty_pages: [usize; 4],
    muzzy_pages: [usize; 4],
    profiling: bool,
    page: u64,
    /// Bytes that a large allocation is padded by, so that not all start in the same cache line.
    large_padding: u64,
    bins: Vec<Bin>,
}

/// A small size class.
struct Bin {
    bytes: u64,
    allocations: [usize; 6],
    deallocations: [usize; 6],
    live: [usize; 6],
}

impl Keys {
    fn open() -> Result<Self> {
        // SAFETY: each is read as the type that jemalloc(3) gives.
        let (profiling, cache_oblivious, page, bins) = unsafe {
            (
                raw::read::<bool>(b"opt.prof\0").unwrap_or(false),
                raw::read::<bool>(b"opt.cache_oblivious\0").unwrap_or(true),
                raw::read::<usize>(b"arenas.page\0")? as u64,
                raw::read::<u32>(b"arenas.nbins\0")?,
            )
        };
        Ok(Self {
            epoch: epoch::mib()?,
            allocated: stats::allocated::mib()?,
            active: stats::active::mib()?,
            resident: stats::resident::mib()?,
            metadata: stats::metadata::mib()?,
            retained: stats::retained::mib()?,
            mapped: stats::mapped::mib()?,
            internal: arena_key(b"stats.arenas.0.internal\0")?,
            thread_caches: arena_key(b"stats.arenas.0.tcache_bytes\0")?,
            dirty_pages: arena_key(b"stats.arenas.0.pdirty\0")?,
            muzzy_pages: arena_key(b"stats.arenas.0.pmuzzy\0")?,
            profiling,
            page,
            large_padding: if cache_oblivious { page } else { 0 },
            bins: (0..bins as usize).map(Bin::open).collect::<Result<_>>()?,
        })
    }

    fn read(&self) -> Result<Books> {
        self.epoch.advance()?;
        let internal_bytes = counter(&self.internal)?;
        let dirty_bytes = counter(&self.dirty_pages)? * self.page;
        let muzzy_bytes = counter(&self.muzzy_pages)? * self.page;
        let sampled = self.sampled()?;
        let allocated_bytes = self.allocated.read()? as u64;
        let active_bytes = self.active.read()? as u64;
        let resident_bytes = self.resident.read()? as u64;
        let mapped_bytes = self.mapped.read()? as u64;
        let cached_bytes = counter(&self.thread_caches)?;
        Ok(Books {
            public: Jemalloc {
                live_bytes: (allocated_bytes + sampled.payload_bytes)
                    .saturating_sub(internal_bytes + cached_bytes),
                allocated_bytes,
                active_bytes,
                resident_bytes,
                metadata_bytes: self.metadata.read()? as u64,
                retained_bytes: self.retained.read()? as u64,
                mapped_bytes,
            },
            base_mapped_bytes: mapped_bytes.saturating_sub(active_bytes + dirty_bytes + muzzy_bytes),
            base_resident_bytes: resident_bytes.saturating_sub(active_bytes + dirty_bytes),
            dirty_bytes,
            internal_bytes,
            sampled,
            profiling: self.profiling,
        })
    }

    /// A sampled object counts as allocated, but not as live, in the size class of its pages. The payload in them is
    /// reckoned from the live objects of the classes that end up in the same pages, weighted by their size as
    /// sampling is.
    fn sampled(&self) -> Result<Sampled> {
        let mut sampled = Sampled::default();
        if !self.profiling {
            return Ok(sampled);
        }
        let (mut weight, mut weighted) = (0.0, 0.0);
        for bin in &self.bins {
            let live = counter(&bin.live)?;
            let bytes = bin.bytes as f64;
            weight += live as f64 * bytes;
            weighted += live as f64 * bytes * bytes;
            if !bin.bytes.is_multiple_of(self.page) {
                continue;
            }
            let samples =
                counter(&bin.allocations)?.saturating_sub(counter(&bin.deallocations)?).saturating_sub(live);
            let payload = if weight > 0.0 { weighted / weight } else { bytes };
            let payload_bytes = (samples as f64 * payload) as u64;
            sampled.payload_bytes += payload_bytes;
            sampled.padding_bytes += samples * (bin.bytes + self.large_padding) - payload_bytes;
            (weight, weighted) = (0.0, 0.0);
        }
        Ok(sampled)
    }
}

impl Bin {
    fn open(index: usize) -> Result<Self> {
        let mut size = [0; 4];
        raw::name_to_mib(b"arenas.bin.0.size\0", &mut size)?;
        size[2] = index;
        let key = |name| {
            let mut key = [0; 6];
            raw::name_to_mib(name, &mut key)?;
            (key[2], key[4]) = (ALL, index);
            Result::Ok(key)
        };
        Ok(Self {
            bytes: counter(&size)?,
            allocations: key(b"stats.arenas.0.bins.0.nmalloc\0")?,
            deallocations: key(b"stats.arenas.0.bins.0.ndalloc\0")?,
            live: key(b"stats.arenas.0.bins.0.curregs\0")?,
        })
    }
}

fn arena_key(name: &[u8]) -> Result<[usize; 4]> {
    let mut key = [0; 4];
    raw::name_to_mib(name, &mut key)?;
    key[2] = ALL;
    Ok(key)
}

/// Reads a counter of 64 bits.
fn counter(key: &[usize]) -> Result<u64> {
    // SAFETY: every key above names a `size_t` or a `uint64_t` (jemalloc(3)); on the 64-bit targets that jemalloc's
    // statistics are read on they are the same.
    unsafe { raw::read_mib::<u64>(key) }
}

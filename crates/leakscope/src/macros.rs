//! The one line that a program needs: allocator and configuration, decided where the binary is built.

/// Sets jemalloc as the program's allocator, with its heap profiler on. Use it once, at the root of the binary crate:
///
/// ```no_run
/// leakscope::jemalloc!();
/// # fn main() {}
/// ```
///
/// It is short for `#[global_allocator]` and an exported `_rjem_malloc_conf`, which jemalloc reads before `main`:
///
/// | option | why |
/// |---|---|
/// | `prof:true,prof_active:true` | the profiler, decided at the start for good |
/// | `lg_prof_sample:16` | one allocated byte in 64 KiB picks its allocation: cheap, and 3 % of error on a line that grew 64 MB |
/// | `background_thread:true,max_background_threads:1` | freed pages go back to the system though nobody allocates |
/// | `dirty_decay_ms:1000,muzzy_decay_ms:0` | within a second or so, so that RSS follows what is held |
/// | `narenas:4` | memory does not scatter over an arena for each four threads of every core |
///
/// More options can be added, later ones win: `leakscope::jemalloc!("lg_prof_sample:14")`. At run time the environment
/// variable `_RJEM_MALLOC_CONF` has the last word, option by option: `_RJEM_MALLOC_CONF=prof:false ./program`.
///
/// Outside Linux it sets the allocator only: snapshots are taken on Linux alone, and
/// [`Profiler::status`](crate::jemalloc::Profiler::status) says so.
#[macro_export]
macro_rules! jemalloc {
    ($($options:literal)?) => {
        #[global_allocator]
        static LEAKSCOPE_ALLOCATOR: $crate::__private::Jemalloc = $crate::__private::Jemalloc;

        #[cfg(target_os = "linux")]
        const _: () = {
            const OPTIONS: &::core::ffi::CStr = match ::core::ffi::CStr::from_bytes_with_nul(
                ::core::concat!(
                    "prof:true,prof_active:true,lg_prof_sample:16,",
                    "background_thread:true,max_background_threads:1,",
                    "dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4",
                    $(",", $options,)?
                    "\0"
                )
                .as_bytes(),
            ) {
                Ok(options) => options,
                Err(_) => ::core::panic!("jemalloc's options may not hold a NUL"),
            };

            // SAFETY: the name is jemalloc's own, with the prefix that tikv-jemallocator gives it; its type is
            // `const char *`, which an optional reference to a `'static` C string's first byte is.
            #[unsafe(export_name = "_rjem_malloc_conf")]
            static MALLOC_CONF: ::core::option::Option<&'static ::core::ffi::c_char> =
                // SAFETY: the pointer is that of a `'static` string.
                ::core::option::Option::Some(unsafe { &*OPTIONS.as_ptr() });
        };
    };
}

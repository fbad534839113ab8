//! Which pages of this process are resident, asked of the kernel for a range of addresses.

use std::ffi::c_void;

/// The page size that is reckoned with. Where the system's is larger, a page is asked for several times.
pub(crate) const PAGE: usize = 4096;

/// Resident bytes between two page boundaries; what is not mapped counts as not resident.
pub(crate) fn resident_in(start: usize, end: usize) -> u64 {
    const PAGES: usize = 4096;
    let mut present = [0u8; PAGES];
    let mut resident = 0;
    for at in (start..end).step_by(PAGES * PAGE) {
        let pages = (end - at).div_ceil(PAGE).min(PAGES);
        // SAFETY: mincore(2) reads no memory in the range, which need not be mapped, and writes a byte for each page
        // into `present`, which has room for PAGES.
        let status = unsafe { libc::mincore(at as *mut c_void, pages * PAGE, present.as_mut_ptr().cast()) };
        if status == 0 {
            resident += present[..pages].iter().filter(|page| **page & 1 == 1).count();
        }
    }
    (resident * PAGE) as u64
}

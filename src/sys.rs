//! The operating system's limits, its service manager, and the processor's cache. The only module
//! that knows libc.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub mod process;
pub mod service;

/// Returns how many cores this process may run on; at least 1.
pub fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the number of files this process may open towards `wanted`, as far as the system lets it,
/// and returns what the limit is then.
pub fn raise_open_file_limit(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for one `rlimit`, which the call fills in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: `limit` is an initialised `rlimit`, which the call only reads.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Returns how large the disk is that holds a path.
pub fn disk_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all bytes zero are a valid `statvfs`: it has numbers alone.
    let mut about: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` ends with a zero, and `about` is a valid place for one `statvfs`.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut about) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((about.f_blocks as u64).saturating_mul(about.f_frsize as u64))
}

/// Returns the number of the user that this process acts for.
pub fn user_number() -> u32 {
    // SAFETY: the call has no arguments and always succeeds.
    unsafe { libc::geteuid() }
}

/// Returns how many files this process may open.
pub fn open_file_limit() -> io::Result<u64> {
    raise_open_file_limit(0)
}

/// Returns whether this process could map a file of so many bytes: there may be a limit (RLIMIT_AS),
/// and 32 bits address little.
pub fn has_address_space(bytes: u64) -> bool {
    let Ok(bytes) = usize::try_from(bytes) else { return false };
    let (protection, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let flags = flags | libc::MAP_NORESERVE;
    // SAFETY: a new mapping of nothing at an address of the system's choice touches no memory that
    // is in use.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: `place` is the mapping made above, which nobody else knows.
    let failed = unsafe { libc::munmap(place, bytes) };
    assert_eq!(failed, 0, "a mapping of our own can be given back");
    true
}

/// Has the calling thread give way to the other threads of this machine, as `nice` does. It is a
/// wish: where the system does not allow it nothing is lost.
pub fn give_way(by: i32) {
    // On Linux that is the thread's own, elsewhere it would be the process's.
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes a number.
    unsafe {
        libc::nice(by);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = by;
}

/// Has the calling thread begin soon once it is woken, before those that work longer at a time: it asks
/// for a millisecond at a time, where a few are usual. It gets no larger part of the processor by that.
/// It is a wish: Linux knows it since 6.12, and where it is not known or not allowed nothing is lost.
pub fn begin_soon() {
    #[cfg(target_os = "linux")]
    // Another policy than the usual one was somebody's choice, and its runtime means something else.
    if let Some(attributes) = sched::read().filter(|it| it.policy == libc::SCHED_OTHER as u32) {
        sched::write(&sched::Attributes { runtime: SOON_NANOS, ..attributes });
    }
}

/// How long those work at a time who are to begin soon. Much less would wake threads more often for less
/// to do each time.
#[cfg(target_os = "linux")]
const SOON_NANOS: u64 = 1_000_000;

/// How the system schedules a thread (sched_setattr(2)), for which libc has no functions.
#[cfg(target_os = "linux")]
mod sched {
    /// `struct sched_attr` in its first form.
    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Attributes {
        pub(super) size: u32,
        pub(super) policy: u32,
        pub(super) flags: u64,
        pub(super) nice: i32,
        pub(super) priority: u32,
        /// In nanoseconds; for the usual policy the stretch that a thread works at a time.
        pub(super) runtime: u64,
        pub(super) deadline: u64,
        pub(super) period: u64,
    }

    /// Returns what holds for the calling thread, if the system tells.
    pub(super) fn read() -> Option<Attributes> {
        let mut attributes = Attributes::default();
        let size = size_of::<Attributes>();
        // SAFETY: the system fills in no more than `size` bytes of `attributes`, which are numbers.
        let told =
            unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
        (told == 0).then_some(attributes)
    }

    /// Has the calling thread scheduled so, if the system allows it.
    pub(super) fn write(attributes: &Attributes) {
        // SAFETY: the call reads as many bytes as `attributes` says of itself, which `read` has set.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attributes), 0) };
    }
}

/// Has the system give this process memory in small pages only, and those that it starts. It is a
/// wish: where the system does not know it nothing is lost.
///
/// The allocator asks for huge pages. They are cleared as a whole, which clients wait for, and held for
/// the few bytes in each that one of many thousand connections keeps. That suits whoever fills large
/// buffers and ends, but no server.
pub fn avoid_huge_pages() {
    #[cfg(target_os = "linux")]
    // SAFETY: the call takes numbers.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
    }
}

/// What a group of processes is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupSignal {
    /// To end in good order.
    Terminate,
    /// Nothing more: it is over.
    Kill,
}

/// Sends a signal to all processes of a group; it has the id of the process that leads it.
pub fn signal_group(leader: u32, signal: GroupSignal) -> io::Result<()> {
    let number = match signal {
        GroupSignal::Terminate => libc::SIGTERM,
        GroupSignal::Kill => libc::SIGKILL,
    };
    // The groups 0 and 1 mean this process's own and everybody.
    let group = libc::pid_t::try_from(leader).ok().filter(|group| *group > 1);
    let group = group.ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: the call reads two numbers.
    match unsafe { libc::killpg(group, number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns bytes that nobody can predict.
pub fn random_bytes() -> [u8; 16] {
    let mut bytes = [0_u8; 16];
    let is_done = fill_with_random(&mut bytes);
    // The call knows two errors: more than 256 bytes, and a system without the call.
    assert!(is_done, "16 random bytes can be had: {}", io::Error::last_os_error());
    bytes
}

/// Fills at most 256 bytes; returns whether that was done.
#[cfg(target_os = "linux")]
fn fill_with_random(bytes: &mut [u8]) -> bool {
    loop {
        // SAFETY: `bytes` is valid for writes of as many bytes as the call is told.
        let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        // A signal may come while the system has none yet; then it is asked again.
        if count >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return usize::try_from(count) == Ok(bytes.len());
        }
    }
}

/// Fills at most 256 bytes; returns whether that was done.
#[cfg(not(target_os = "linux"))]
fn fill_with_random(bytes: &mut [u8]) -> bool {
    // SAFETY: `bytes` is valid for writes of as many bytes as the call is told.
    unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) == 0 }
}

/// Makes a part of a file a hole: it takes no room on the disk and reads as zeros.
pub fn punch_hole(file: &std::fs::File, from: u64, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let (Ok(from), Ok(bytes)) = (from.try_into(), bytes.try_into()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        // SAFETY: the call takes a file that is open and three numbers.
        match unsafe { libc::fallocate(file.as_raw_fd(), mode, from, bytes) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, from, bytes);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Has the system begin to write a part of a file to the disk, without waiting for it. It is a hint:
/// where it cannot be given nothing is lost.
pub fn start_writing(file: &std::fs::File, from: u64, bytes: u64) {
    #[cfg(target_os = "linux")]
    {
        use std::os::fd::AsRawFd;
        let (Ok(from), Ok(bytes)) = (from.try_into(), bytes.try_into()) else { return };
        // SAFETY: the call takes a file that is open and three numbers.
        unsafe {
            libc::sync_file_range(file.as_raw_fd(), from, bytes, libc::SYNC_FILE_RANGE_WRITE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from, bytes);
}

/// Asks the processor to have the cache line of an address at hand soon; any address will do.
#[inline]
pub fn prefetch(address: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing that the program could see and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::without_provenance(address)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_file_limit_never_sinks_and_stays_within_what_is_possible() {
        let before = raise_open_file_limit(0).expect("the limit can be read");
        let after = raise_open_file_limit(u64::MAX).expect("the limit can be raised");
        assert!(after >= before);
        assert_eq!(raise_open_file_limit(1).expect("the limit can be read"), after);
        assert!(core_count() >= 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_gets_the_stretch_that_it_asks_for_where_the_system_knows_it() {
        std::thread::spawn(|| {
            let before = sched::read().expect("the attributes can be read");
            begin_soon();
            let after = sched::read().expect("the attributes can be read");
            assert!([before.runtime, SOON_NANOS].contains(&after.runtime), "{}", after.runtime);
            assert_eq!((after.policy, after.nice), (before.policy, before.nice));
        })
        .join()
        .expect("it asks without a panic");
    }

    #[test]
    fn any_address_may_be_prefetched() {
        for address in [0, 1, 4096, usize::MAX, usize::MAX / 2] {
            prefetch(address);
        }
    }

    #[test]
    fn a_disk_has_a_size_and_what_is_no_path_has_none() {
        assert!(disk_bytes(Path::new(".")).expect("it is a path") > 1 << 20);
        assert!(disk_bytes(Path::new("/no/such/path")).is_err());
    }

    #[test]
    fn address_space_is_probed_and_given_back() {
        assert!((0..100).all(|_| has_address_space(1 << 40)));
        assert!(!has_address_space(1 << 60));
    }

    #[test]
    fn groups_that_are_none_are_never_told_anything() {
        for leader in [0, 1, u32::MAX] {
            assert!(signal_group(leader, GroupSignal::Kill).is_err(), "{leader}");
        }
    }

    #[test]
    fn random_bytes_differ_each_time() {
        let all: std::collections::HashSet<_> = (0..100).map(|_| random_bytes()).collect();
        assert_eq!(all.len(), 100);
    }
}

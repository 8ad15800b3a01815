//! What the operating system says about this process.

/// Processor and cores, for whoever asks where a figure comes from.
pub fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    format!("{model}, {cores} cores, {}", std::env::consts::OS)
}

/// Name of this machine; `host` where the system does not say.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "host".to_owned() } else { name.trim().to_owned() }
}

/// Largest resident memory so far, MiB. `None` where `/proc` does not say.
pub fn peak_memory_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Resident memory now, bytes. `None` where `/proc` does not say.
pub fn resident_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Memory that can be had without swapping, bytes. `None` where `/proc` does not say.
pub fn available_memory_bytes() -> Option<u64> {
    let memory = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find(|line| line.starts_with("MemAvailable:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Rate at which `threads` threads together read 256 MiB from memory, GB/s: best of five.
pub fn read_bandwidth_gb_s(threads: usize) -> f64 {
    const BYTES: usize = 256 << 20;
    let words = vec![1u64; BYTES / 8];
    let share = words.len().div_ceil(threads.max(1));
    let pass = || {
        let start = std::time::Instant::now();
        let sum: u64 = std::thread::scope(|scope| {
            let parts: Vec<_> = words
                .chunks(share)
                .map(|part| scope.spawn(move || part.iter().copied().fold(0, u64::wrapping_add)))
                .collect();
            parts.into_iter().filter_map(|part| part.join().ok()).fold(0, u64::wrapping_add)
        });
        std::hint::black_box(sum);
        BYTES as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| pass()).fold(0.0, f64::max)
}

//! What a host takes on at most.

/// What one daemon starts at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Agents that run at once.
    pub agents: usize,
    /// Nothing is started while less memory than this is available, in MiB; 0 is no limit.
    pub free_memory_mb: u64,
}

impl Limits {
    /// Refuses when the host has too little memory left for another agent.
    pub(super) fn require_memory(&self) -> Result<(), String> {
        let available = available_memory_mb();
        match available {
            Some(available) if available < self.free_memory_mb => Err(format!(
                "{available} MiB of memory are available on this host, and it starts agents from {} MiB on \
                 (--min-free-memory); end something there, or ask again later",
                self.free_memory_mb
            )),
            _ => Ok(()),
        }
    }

    /// What is said when there are as many agents as there may be.
    pub(super) fn full(&self) -> String {
        format!(
            "this host runs {} agents, which is the most it takes (--max-agents); shut one down, or spawn elsewhere",
            self.agents
        )
    }
}

/// What the kernel says can be had without swapping; none where it does not say.
fn available_memory_mb() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_memory_starts_nothing_and_says_what_would_be_allowed() {
        let limits = |free_memory_mb| Limits { agents: 1, free_memory_mb };
        assert_eq!(limits(0).require_memory(), Ok(()));
        if available_memory_mb().is_some() {
            let refused = limits(u64::MAX).require_memory().unwrap_err();
            assert!(refused.contains(&format!("from {} MiB on", u64::MAX)), "{refused}");
        }
    }
}

//! Brotli and gzip forms of files, for servers and browsers that take them.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use flate2::write::GzEncoder;

use super::{create_folder, inputs};
use crate::error::{Error, Result};

/// Below this, headers weigh more than what is saved.
const SMALLEST: u64 = 1024;
/// In bits; the largest that browsers take.
const BROTLI_WINDOW: u32 = 24;

/// The bytes of a site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    files: usize,
    plain: u64,
    brotli: u64,
}

impl fmt::Display for Sizes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        let (plain, brotli) = (megabytes(self.plain), megabytes(self.brotli));
        write!(out, "{} files, {plain:.2} MB, {brotli:.2} MB as brotli", self.files)
    }
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Brotli,
    Gzip,
}

/// One compressed file to make.
struct Job {
    file: PathBuf,
    hash: String,
    form: Form,
}

/// Writes a `.br` and a `.gz` beside each file that they make clearly smaller. Results are kept in `cache` under the
/// hash of the file, because most files of a new build are those of the last.
pub fn beside_each(folder: &Path, cache: &Path, quality: u32) -> Result<Sizes> {
    create_folder(cache)?;
    let mut sizes = Sizes::default();
    let mut jobs = Vec::new();
    for file in inputs::files(folder)? {
        let length = length(&file)?;
        sizes.files += 1;
        sizes.plain += length;
        if length < SMALLEST {
            sizes.brotli += length;
            continue;
        }
        let hash = inputs::hash_file(&file)?;
        jobs.push(Job { file: file.clone(), hash: hash.clone(), form: Form::Brotli });
        jobs.push(Job { file, hash, form: Form::Gzip });
    }
    let results = in_parallel(&jobs, |job| job.run(cache, quality));
    for (job, result) in jobs.iter().zip(results) {
        let bytes = result?;
        if matches!(job.form, Form::Brotli) {
            sizes.brotli += bytes;
        }
    }
    forget_others(cache, &jobs, quality)?;
    Ok(sizes)
}

impl Job {
    /// Makes the file and gives back how many bytes a browser has to fetch.
    fn run(&self, cache: &Path, quality: u32) -> Result<u64> {
        let kept = cache.join(self.cache_name(quality));
        if !kept.is_file() {
            let bytes = fs::read(&self.file).map_err(Error::file("read", &self.file))?;
            let packed = self.form.pack(&bytes, quality).map_err(Error::file("compress", &self.file))?;
            // Under another name until it is whole: a broken-off run must not leave half a file behind.
            // Named after the thread, since two files of a site may be the same.
            let partial = cache.join(format!("partial-{:?}", thread::current().id()));
            fs::write(&partial, packed).map_err(Error::file("write", &partial))?;
            fs::rename(&partial, &kept).map_err(Error::file("rename", &partial))?;
        }
        let (plain, packed) = (length(&self.file)?, length(&kept)?);
        if packed * 20 > plain * 19 {
            return Ok(plain);
        }
        let mut name = self.file.clone().into_os_string();
        name.push(self.form.suffix());
        fs::copy(&kept, &name).map_err(Error::file("write", Path::new(&name)))?;
        Ok(packed)
    }

    fn cache_name(&self, quality: u32) -> String {
        format!("{}-{quality}{}", self.hash, self.form.suffix())
    }
}

impl Form {
    fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
        }
    }

    fn pack(self, bytes: &[u8], quality: u32) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Brotli => {
                let mut writer = brotli::CompressorWriter::new(Vec::new(), 1 << 16, quality, BROTLI_WINDOW);
                writer.write_all(bytes)?;
                Ok(writer.into_inner())
            }
            Self::Gzip => {
                let mut writer = GzEncoder::new(Vec::new(), flate2::Compression::new(quality));
                writer.write_all(bytes)?;
                writer.finish()
            }
        }
    }
}

/// Does the jobs on all cores and gives back their results in order.
fn in_parallel<T: Sync, R: Send>(jobs: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one_core = || {
        let mut done = Vec::new();
        while let Some((index, job)) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(index).map(|job| (index, job))
        } {
            done.push((index, work(job)));
        }
        done
    };
    let cores = thread::available_parallelism().map_or(1, usize::from).min(jobs.len());
    let mut all: Vec<(usize, R)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(one_core)).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        threads.into_iter().flat_map(join).collect()
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, result)| result).collect()
}

/// Drops what this quality no longer needs, so that the cache does not grow with every build.
fn forget_others(cache: &Path, jobs: &[Job], quality: u32) -> Result<()> {
    let used: BTreeSet<String> = jobs.iter().map(|job| job.cache_name(quality)).collect();
    let mark = format!("-{quality}.");
    for file in inputs::files(cache)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains(&mark) && !used.contains(&name) {
            fs::remove_file(&file).map_err(Error::file("remove", &file))?;
        }
    }
    Ok(())
}

fn length(file: &Path) -> Result<u64> {
    file.metadata().map(|data| data.len()).map_err(Error::file("read", file))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn both_forms_unpack_to_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (site, cache) = (folder.path().join("site"), folder.path().join("cache"));
        fs::create_dir(&site).unwrap();
        let text = "some text that repeats; ".repeat(500).into_bytes();
        let noise: Vec<u8> = (0_u64..400).flat_map(|n| Sha256::digest(n.to_le_bytes()).to_vec()).collect();
        fs::write(site.join("page.js"), &text).unwrap();
        fs::write(site.join("noise"), &noise).unwrap();
        let sizes = beside_each(&site, &cache, 5).unwrap();

        let mut unpacked = Vec::new();
        let packed = fs::read(site.join("page.js.br")).unwrap();
        brotli::Decompressor::new(packed.as_slice(), 4096).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);
        unpacked.clear();
        let gzip = fs::read(site.join("page.js.gz")).unwrap();
        flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, text);

        assert!(!site.join("noise.br").exists(), "what does not shrink is left alone");
        assert_eq!(sizes.files, 2);
        assert_eq!(sizes.brotli, (packed.len() + noise.len()) as u64);
    }

    #[test]
    fn the_cache_keeps_only_what_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let (site, cache) = (folder.path().join("site"), folder.path().join("cache"));
        fs::create_dir(&site).unwrap();
        for text in ["first ", "second "] {
            fs::write(site.join("a.txt"), text.repeat(1000)).unwrap();
            let _ = fs::remove_file(site.join("a.txt.br"));
            let _ = fs::remove_file(site.join("a.txt.gz"));
            beside_each(&site, &cache, 5).unwrap();
            assert_eq!(inputs::files(&cache).unwrap().len(), 2);
        }
    }

    #[test]
    fn results_come_in_order() {
        let jobs: Vec<u32> = (0..50).collect();
        assert_eq!(in_parallel(&jobs, |job| job * 2), jobs.iter().map(|job| job * 2).collect::<Vec<_>>());
        assert!(in_parallel(&[], |job: &u32| *job).is_empty());
    }
}

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#include "common/parallel.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "common/error.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace fastcodec {
namespace {

constexpr int kMaxThreads = 256;

int default_threads() {
  if (const char* text = std::getenv("FASTCODEC_NUM_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (*text && (*end || n < 1)) {
      throw Error(ErrorCode::kValue, std::string("FASTCODEC_NUM_THREADS must be a whole number above 0, got '") + text + "'");
    }
    if (*text) return static_cast<int>(std::min<long>(n, kMaxThreads));
  }
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::clamp(CPU_COUNT(&set), 1, kMaxThreads);
#endif
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

std::atomic<int>& thread_setting() {
  static std::atomic<int> n{default_threads()};
  return n;
}

}  // namespace

int num_threads() { return thread_setting().load(); }
void set_num_threads(int n) { thread_setting().store(std::clamp(n, 1, kMaxThreads)); }

void parallel_for(size_t n_tasks, int n_threads, const std::function<void(size_t, int)>& task) {
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_lock;
  auto work = [&](int worker) {
    try {
      for (size_t i; (i = next.fetch_add(1)) < n_tasks;) task(i, worker);
    } catch (...) {
      next.store(n_tasks);  // the others start nothing new
      const std::lock_guard<std::mutex> hold(failure_lock);
      if (!failure) failure = std::current_exception();
    }
  };
  const int n_helpers = static_cast<int>(std::min<size_t>(std::max(n_threads, 1), n_tasks)) - 1;
  std::vector<std::thread> helpers;
  helpers.reserve(n_helpers > 0 ? n_helpers : 0);
  for (int i = 1; i <= n_helpers; ++i) {
    try {
      helpers.emplace_back(work, i);
    } catch (...) {
      break;  // no more threads, or no memory for them: those that run do all the work
    }
  }
  work(0);
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace fastcodec

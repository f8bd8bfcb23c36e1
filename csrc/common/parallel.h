// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>

namespace fastcodec {

// The number of threads used where a call does not say: the CPUs this process may run on, or FASTCODEC_NUM_THREADS, or
// what set_num_threads said last (n >= 1).
int num_threads();
void set_num_threads(int n);

// Calls task(i, worker) once for each i in [0, n_tasks), in order of i, from min(n_threads, n_tasks) threads of which the
// caller is one; worker is in [0, n_threads). The first exception of a task is thrown again here, after all have ended.
// The threads live for the call only: some 20 us each, and no state that a fork() could break.
void parallel_for(size_t n_tasks, int n_threads, const std::function<void(size_t task, int worker)>& task);

}  // namespace fastcodec

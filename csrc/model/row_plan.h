// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Which rows of which values are made when and where they lie; execute.cpp makes them.
//
// A task is a band of rows of one column strip of the region; strips are as wide as the cache allows, bands are one for
// each thread. Each value lives in a ring of a few rows; a step asks for kStepRows more rows of the result, a backward pass
// turns that into the rows that each operation must have reached, and a forward pass produces them. So activations stay in
// the cache, and memory does not grow with the height of the image. Values far smaller than the result run ahead, so that a
// convolution makes kMaxRows rows at a time for them too. A dry run of the same schedule says how many rows each ring needs.
//
// No row is made twice: a band begins with all that its first rows depend on, and the band above ends where that begins.
// What it needs from there the lower band, which made it first of all, has kept for it: the seam. At the cuts between strips
// both make the columns that they share, from true neighbours. So the result does not depend on where the cuts lie.
#pragma once

#include <functional>
#include <vector>

#include "model/program.h"

namespace fastcodec {

constexpr int kChainCols = 96;  // of a chunk of passing values, see execute.cpp

struct Size {
  int height;
  int width;
};

// Where each value's ring lies in the work space of a task and which columns it holds.
struct Ring {
  Range cols;         // true pixels that a row holds
  int n_rows;         // rows of the ring
  size_t offset;      // of the ring in the work space
  size_t row_bytes;
  size_t left_bytes;  // in front of pixel cols.lo
};

struct Band {
  Range out;                // rows of the result
  std::vector<Range> made;  // rows of each value that it makes
  std::vector<Range> kept;  // the first of them, which the band above reads too; empty ranges in the topmost band
};

struct RowPlan {
  std::vector<Size> sizes;  // of the values
  std::vector<Range> strips;
  std::vector<Band> bands;
  std::vector<int> ring_rows;
  size_t bytes_per_thread = 0;
  size_t seam_bytes = 0;  // of one seam
  int n_seam_slots = 0;   // seams of one boundary that exist at a time, for strips in turn
  int n_threads = 1;

  size_t bytes() const { return bytes_per_thread * n_threads + seam_bytes * n_seam_slots * (bands.size() - 1); }
};

RowPlan make_row_plan(const Program& program, const RunArgs& args);

std::vector<Ring> lay_out_rings(const Program& program, const std::vector<Size>& sizes, Range cols,
                                const std::vector<int>& ring_rows, size_t* total_bytes);

// Of the widest passing value's chunk; 0 without any.
size_t passing_row_bytes(const Program& program);

// Calls produce(op index, first row, number of rows, done) in the order of execution; done[i] rows of operation i exist (all
// rows below that number which the band makes).
using Produce = std::function<void(int, int, int, const std::vector<int>&)>;
void stream_rows(const Program& program, const std::vector<Size>& sizes, const Band& band, const Produce& produce);

}  // namespace fastcodec

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Running a program as a stream of rows. Each value lives in a ring of a few rows; a step asks for kStepRows more rows of
// the result, a backward pass turns that into the rows that each operation must have reached, and a forward pass produces
// them. So activations stay in the cache, nothing is computed twice inside a task, and memory does not grow with the
// height of the image. Values far smaller than the result run ahead, so that a convolution makes kMaxRows rows at a time
// for them too. A dry run of the same schedule says how many rows each ring needs.
//
// A passing value, which one 1x1 convolution alone reads, has no ring: that convolution makes it with its own rows, a chunk
// of columns at a time, and so it never leaves the L1 cache. Several in a row make a chain.
//
// A task is a band of rows of one column strip of the region; strips are as wide as the cache allows, bands are one for
// each thread. At the cuts the tasks compute the rows and columns that they share each for itself, from true neighbours, so
// the result does not depend on where the cuts lie.
#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/parallel.h"
#include "model/program.h"

namespace fastcodec {
namespace {

constexpr int kStepRows = 2 * kMaxRows;            // of the result: kMaxRows at half the resolution
constexpr size_t kStripBytes = size_t{3} << 19;    // rings of a strip: about the share of the L2 cache that is free
constexpr int kMinStripCols = 256;                 // narrower strips would mostly compute their overlap
constexpr double kMinBandMacs = 1e7;               // less is not worth a thread
constexpr int kChainCols = 96;                     // of a chain's chunk
constexpr size_t kChainPixels = kChainCols + kPadPixels + kSlackPixels;  // of a row of a passing value

struct Rect {
  Range rows;
  Range cols;
};

struct Size {
  int height;
  int width;
};

// The work space of one task: where each value's ring lies and which columns it holds.
struct Ring {
  Range cols;          // true pixels that a row holds
  int n_rows;          // rows of the ring
  size_t offset;       // of the ring in the work space
  size_t row_bytes;
  size_t left_bytes;   // in front of pixel cols.lo
};

Size size_of(const Op& op, const RunArgs& args) {
  if (op.scale.requested) return {args.out_height, args.out_width};
  return {op.scale.apply(args.height), op.scale.apply(args.width)};
}

Range clamp_range(Range r, int n) { return {std::clamp(r.lo, 0, n), std::clamp(r.hi, 0, n)}; }

std::vector<Size> all_sizes(const Program& program, const RunArgs& args) {
  std::vector<Size> sizes;
  for (const Op& op : program.ops()) sizes.push_back(size_of(op, args));
  return sizes;
}

// What each operation must produce so that the last one can produce `out`; by rows or by columns.
std::vector<Range> needed_ranges(const Program& program, const std::vector<Size>& sizes, Range out, bool columns) {
  const auto& ops = program.ops();
  std::vector<Range> need(ops.size(), Range{INT_MAX, INT_MIN});
  need.back() = out;
  for (size_t i = ops.size() - 1; i > 0; --i) {
    const bool pairs = ops[i].kind == OpKind::kPixelShuffle || ops[i].kind == OpKind::kBicubicUp2;
    if (columns && pairs) need[i] = {need[i].lo / 2 * 2, (need[i].hi + 1) / 2 * 2};  // those kernels write pairs of pixels
    for (int which = 0; which < 2; ++which) {
      const int input = ops[i].in[which];
      if (input < 0) continue;
      const int n = columns ? sizes[input].width : sizes[input].height;
      const Range r = clamp_range(input_range(ops[i], which, need[i]), n);
      need[input] = {std::min(need[input].lo, r.lo), std::max(need[input].hi, r.hi)};
    }
  }
  return need;
}

// log2 of the rows of the result over those of the operation, of the operations that read it at least.
std::vector<int> all_levels(const Program& program) {
  const auto& ops = program.ops();
  std::vector<int> levels(ops.size(), 0);
  for (size_t i = ops.size() - 1; i-- > 0;) {
    const Scale& scale = ops[i].scale;
    if (!scale.requested) levels[i] = std::max(program.scale_log2() - (scale.ups - scale.downs), 0);
    for (const int reader : ops[i].readers) levels[i] = std::max(levels[i], levels[reader]);
  }
  return levels;
}

// Calls produce(op index, first row, number of rows, done) in the order of execution; done[i] rows of operation i exist
// (all rows below that number which the band needs).
template <class Produce>
void stream_rows(const Program& program, const std::vector<Size>& sizes, Range out, Produce&& produce) {
  const auto& ops = program.ops();
  const std::vector<int> levels = all_levels(program);
  std::vector<int> done;
  for (const Range& r : needed_ranges(program, sizes, out, false)) done.push_back(r.lo);
  const int n_levels = *std::max_element(levels.begin(), levels.end()) + 1;
  std::vector<std::vector<Range>> need(n_levels);  // of the step at each level
  std::vector<int> ends(n_levels, out.lo);         // and where it ends in the result
  const int step = program.scale_log2() < -1 ? kMaxRows : kStepRows;
  for (int y = out.lo; y < out.hi; y = ends[0]) {
    for (int level = 0; level < n_levels; ++level) {
      if (ends[level] > y) continue;
      const int size = level < 2 ? step : kMaxRows << level;
      ends[level] = std::min(y - y % size + size, out.hi);
      need[level] = needed_ranges(program, sizes, {y, ends[level]}, false);
    }
    for (size_t i = 0; i < ops.size(); ++i) {
      if (ops[i].passing) continue;
      const int end = need[levels[i]][i].hi;
      while (done[i] < end) {
        const int n = std::min(end - done[i], kMaxRows);
        produce(static_cast<int>(i), done[i], n, done);
        done[i] += n;
        for (int k = ops[i].in[0]; k >= 0 && ops[k].passing; k = ops[k].in[0]) done[k] = done[i];
      }
    }
  }
}

// Raises ring_rows[i] to what the band needs: from the oldest row that a reader still wants to the newest.
void count_ring_rows(const Program& program, const std::vector<Size>& sizes, Range out, std::vector<int>* ring_rows) {
  const auto& ops = program.ops();
  const std::vector<Range> final_need = needed_ranges(program, sizes, out, false);
  stream_rows(program, sizes, out, [&](int i, int first, int n, const std::vector<int>& done) {
    int oldest = first;
    for (const int reader : ops[i].readers) {
      if (done[reader] >= final_need[reader].hi) continue;
      for (int which = 0; which < 2; ++which) {
        if (ops[reader].in[which] != i) continue;
        const Range r = input_range(ops[reader], which, {done[reader], done[reader] + 1});
        oldest = std::min(oldest, clamp_range(r, sizes[i].height).lo);
      }
    }
    (*ring_rows)[i] = std::max((*ring_rows)[i], first + n - oldest);
  });
}

// Of the widest passing value; 0 without any.
size_t passing_row_bytes(const Program& program) {
  size_t bytes = 0;
  for (const Op& op : program.ops()) {
    if (op.passing) bytes = std::max(bytes, (kChainPixels * op.pixel_bytes() + kSlackBytes + 63) / 64 * 64);
  }
  return bytes;
}

std::vector<Ring> lay_out_rings(const Program& program, const std::vector<Size>& sizes, Range cols,
                                const std::vector<int>& ring_rows, size_t* total_bytes) {
  const std::vector<Range> need = needed_ranges(program, sizes, cols, true);
  std::vector<Ring> rings;
  size_t offset = 0;
  for (size_t i = 0; i + 1 < program.ops().size(); ++i) {
    const size_t pixel_bytes = program.ops()[i].pixel_bytes();
    Ring ring{need[i], ring_rows[i], offset, 0, (kPadPixels * pixel_bytes + 63) / 64 * 64};
    const size_t n_pixels = static_cast<size_t>(need[i].hi - need[i].lo) + kPadPixels + kSlackPixels;
    ring.row_bytes = (ring.left_bytes + n_pixels * pixel_bytes + kSlackBytes + 63) / 64 * 64;
    offset += ring.row_bytes * ring.n_rows;
    rings.push_back(ring);
  }
  size_t scratch = 0;
  for (size_t i = 0; i + 1 < program.ops().size(); ++i) {
    const Op& op = program.ops()[i];
    const int n_cols = need[i].hi - need[i].lo;
    if (op.kind == OpKind::kConv) scratch = std::max(scratch, program.kernels().conv_scratch_bytes(op.conv, n_cols));
    if (op.kind == OpKind::kBicubicUp2 || op.kind == OpKind::kBicubicDown2) {
      scratch = std::max(scratch, program.kernels().bicubic_scratch_bytes(op.pixel, n_cols));
    }
  }
  *total_bytes = offset + 2 * kMaxRows * passing_row_bytes(program) + scratch;
  return rings;
}

struct Plan {
  std::vector<Size> sizes;
  std::vector<Range> strips;
  std::vector<Range> bands;
  std::vector<int> ring_rows;
  size_t bytes_per_thread = 0;
  int n_threads = 1;
};

std::vector<Range> cut(Range r, int n_parts, int multiple) {
  const int part = round_up((r.hi - r.lo + n_parts - 1) / n_parts, multiple);
  std::vector<Range> parts;
  for (int lo = r.lo; lo < r.hi; lo += part) parts.push_back({lo, std::min(lo + part, r.hi)});
  return parts;
}

// Bands for the threads, as long as one is more than its overlap with the others and has enough to do.
int count_bands(const Program& program, const std::vector<Size>& sizes, const RunArgs& args) {
  double macs = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    macs += static_cast<double>(program.ops()[i].weight.size()) * sizes[i].height * sizes[i].width;
  }
  const double halo = std::ldexp(program.halo(), program.scale_log2());
  const double by_rows = args.n_rows / std::max<double>(2 * halo, kStepRows);
  const double by_work = macs * args.n_rows / args.out_height / kMinBandMacs;
  return static_cast<int>(std::clamp<double>(std::min(by_rows, by_work), 1, std::max(args.n_threads, 1)));
}

Plan make_plan(const Program& program, const RunArgs& args) {
  Plan plan;
  plan.sizes = all_sizes(program, args);
  const Range rows{args.y, args.y + args.n_rows}, cols{args.x, args.x + args.n_cols};
  plan.bands = cut(rows, count_bands(program, plan.sizes, args), kStepRows);
  plan.ring_rows.assign(program.ops().size(), 0);
  for (const Range& band : plan.bands) count_ring_rows(program, plan.sizes, band, &plan.ring_rows);
  size_t bytes = 0;
  lay_out_rings(program, plan.sizes, cols, plan.ring_rows, &bytes);
  const std::vector<int> levels = all_levels(program);
  const int min_cols = kMinStripCols << std::max(*std::max_element(levels.begin(), levels.end()) - 1, 0);
  const int n_strips =
      static_cast<int>(std::min<size_t>((bytes + kStripBytes - 1) / kStripBytes, std::max(args.n_cols / min_cols, 1)));
  plan.strips = cut(cols, std::max(n_strips, 1), 16);
  for (const Range& strip : plan.strips) {
    lay_out_rings(program, plan.sizes, strip, plan.ring_rows, &bytes);
    plan.bytes_per_thread = std::max(plan.bytes_per_thread, (bytes + 63) / 64 * 64);
  }
  plan.n_threads = static_cast<int>(std::min<size_t>(std::max(args.n_threads, 1), plan.bands.size() * plan.strips.size()));
  return plan;
}

// One band of one strip.
class Task {
 public:
  Task(const Program& program, const RunArgs& args, const Plan& plan, Rect out, uint8_t* work)
      : program_(program), args_(args), sizes_(plan.sizes), out_(out), work_(work) {
    size_t bytes = 0;
    rings_ = lay_out_rings(program, sizes_, out.cols, plan.ring_rows, &bytes);
    passing_row_bytes_ = passing_row_bytes(program);
    passing_ = work + rings_.back().offset + rings_.back().row_bytes * rings_.back().n_rows;
    scratch_ = passing_ + 2 * kMaxRows * passing_row_bytes_;
  }

  void run() {
    stream_rows(program_, sizes_, out_.rows, [&](int i, int first, int n, const std::vector<int>&) {
      produce(i, first, n);
      for (int y = first; y < first + n && i + 1 < static_cast<int>(program_.ops().size()); ++y) pad_row(i, y);
    });
  }

 private:
  // Pixel x of row y of value i, the row clamped to the image.
  uint8_t* at(int i, int y, int x) const {
    const Ring& ring = rings_[i];
    y = std::clamp(y, 0, sizes_[i].height - 1);
    return work_ + ring.offset + ring.row_bytes * (y % ring.n_rows) + ring.left_bytes +
           static_cast<ptrdiff_t>(x - ring.cols.lo) * program_.ops()[i].pixel_bytes();
  }

  // Copies of the edge pixels beside a row that reaches the border of the image.
  void pad_row(int i, int y) {
    const Ring& ring = rings_[i];
    const size_t bytes = program_.ops()[i].pixel_bytes();
    uint8_t* first = at(i, y, ring.cols.lo);
    uint8_t* last = at(i, y, ring.cols.hi - 1);
    for (int k = 1; k <= kPadPixels; ++k) {
      if (ring.cols.lo == 0) std::memcpy(first - k * bytes, first, bytes);
      if (ring.cols.hi == sizes_[i].width) std::memcpy(last + k * bytes, last, bytes);
    }
  }

  void produce(int i, int first, int n) {
    const Op& op = program_.ops()[i];
    if (op.kind == OpKind::kConv) return convolve_chain(i, first, n);
    for (int y = first; y < first + n; ++y) {
      if (op.kind == OpKind::kInput) load_row(i, y);
      else if (op.kind == OpKind::kStore) store_row(op, y);
      else row(i, op, y);
    }
  }

  void load_row(int i, int y) {
    const Ring& ring = rings_[i];
    const size_t pixel = program_.ops()[i].pixel_bytes();
    const uint8_t* row = args_.image + (static_cast<size_t>(y) * args_.width + ring.cols.lo) * pixel;
    std::memcpy(at(i, y, ring.cols.lo), row, (ring.cols.hi - ring.cols.lo) * pixel);
  }

  void store_row(const Op& op, int y) {
    const size_t bytes = op.pixel_bytes(), n_cols = out_.cols.hi - out_.cols.lo;
    uint8_t* out = args_.out + (static_cast<size_t>(y - args_.y) * args_.n_cols + (out_.cols.lo - args_.x)) * bytes;
    const uint8_t* in = at(op.in[0], y, out_.cols.lo);
    const size_t pixel = program_.ops()[op.in[0]].pixel_bytes();
    if (pixel == bytes) {
      std::memcpy(out, in, n_cols * bytes);
    } else {
      for (size_t x = 0; x < n_cols; ++x) std::memcpy(out + x * bytes, in + x * pixel, bytes);
    }
  }

  // The convolution with the chain of passing values before it.
  void convolve_chain(int i, int first, int n) {
    std::vector<int> chain{i};
    while (program_.ops()[program_.ops()[chain.back()].in[0]].passing) chain.push_back(program_.ops()[chain.back()].in[0]);
    std::reverse(chain.begin(), chain.end());
    const Range all = rings_[i].cols;
    const int chunk = chain.size() > 1 ? kChainCols : all.hi - all.lo;
    for (int x = all.lo; x < all.hi; x += chunk) {
      for (size_t link = 0; link < chain.size(); ++link) {
        convolve(chain[link], {first, first + n}, {x, std::min(x + chunk, all.hi)}, link);
      }
    }
  }

  // Row k of what a link of a chain passes on; two buffers take turns.
  uint8_t* passing_row(size_t link, int k) const { return passing_ + (link % 2 * kMaxRows + k) * passing_row_bytes_; }

  void convolve(int i, Range rows, Range cols, size_t link) {
    const Op& op = program_.ops()[i];
    const ConvShape& shape = op.conv;
    const int input = op.in[0], n = rows.hi - rows.lo;
    const uint8_t* in[(kMaxRows - 1) * 2 + 3];
    void* out[kMaxRows];
    const void* add[kMaxRows];
    for (int k = 0; k < (n - 1) * shape.stride + shape.kernel; ++k) {
      in[k] = program_.ops()[input].passing ? passing_row(link - 1, k)
                                            : at(input, rows.lo * shape.stride - shape.kernel / 2 + k,
                                                 cols.lo * shape.stride - shape.kernel / 2);
    }
    for (int k = 0; k < n; ++k) {
      out[k] = op.passing ? passing_row(link, k) : at(i, rows.lo + k, cols.lo);
      if (op.in[1] >= 0) add[k] = at(op.in[1], rows.lo + k, cols.lo);
    }
    const Op* added = op.in[1] >= 0 ? &program_.ops()[op.in[1]] : nullptr;
    program_.kernels().conv({shape, op.packed.get(), level_row(op.bias), level_row(op.mult), in, out, op.type, op.pixel,
                             added ? add : nullptr, added ? added->type : Dtype::kU8, added ? added->pixel : 0, n,
                             cols.hi - cols.lo, scratch_});
  }

  const int32_t* level_row(const std::vector<TableRow>& table) const {
    return table[table.size() == 1 ? 0 : args_.level].data();
  }

  void row(int i, const Op& op, int y) {
    const Kernels& kernels = program_.kernels();
    const Op& in = program_.ops()[op.in[0]];
    const int x = rings_[i].cols.lo, n_cols = rings_[i].cols.hi - x, input = op.in[0];
    uint8_t* out = at(i, y, x);
    const uint8_t* rows[8];
    switch (op.kind) {
      case OpKind::kScale:
        return kernels.scale({at(input, y, x), in.type, in.pixel * op.fold, op.channels * op.fold, level_row(op.mult),
                              level_row(op.bias), op.narrow, out, op.type, op.pixel * op.fold,
                              (n_cols + op.fold - 1) / op.fold});
      case OpKind::kPixelUnshuffle: {
        const void* pair[2] = {at(input, 2 * y, 2 * x), at(input, 2 * y + 1, 2 * x)};
        return kernels.pixel_unshuffle2(pair, in.pixel, in.channels, op.element_bytes(), out, op.pixel, n_cols);
      }
      case OpKind::kPhase: {
        uint8_t column[kMaxPlanes];
        for (int k = 0; k < op.n_planes; ++k) column[k] = op.table[(op.n_planes + k) * op.period + y % op.period];
        return kernels.phase(at(input, y, x), in.pixel, in.channels, op.table.data(), op.n_planes, op.period, x, column,
                             out, op.pixel, n_cols);
      }
      case OpKind::kPixelShuffle:
        return kernels.pixel_shuffle2(at(input, y / 2, x / 2), in.pixel, op.channels, y % 2, op.element_bytes(), out,
                                      op.pixel, n_cols / 2);
      case OpKind::kBicubicUp2:
        for (int k = 0; k < 4; ++k) rows[k] = at(input, y / 2 - 2 + y % 2 + k, x / 2);
        return kernels.bicubic_up2(rows, op.pixel, y % 2, op.type, out, n_cols / 2, scratch_);
      case OpKind::kBicubicDown2:
        for (int k = 0; k < 8; ++k) rows[k] = at(input, 2 * y - 3 + k, 2 * x);
        return kernels.bicubic_down2(rows, op.pixel, op.type, out, n_cols, scratch_);
      default: {  // residual
        const Op& base = program_.ops()[op.in[1]];
        return kernels.residual(reinterpret_cast<const int16_t*>(at(input, y, x)), in.pixel, at(op.in[1], y, x), base.type,
                                base.pixel, op.channels, out, op.pixel, n_cols);
      }
    }
  }

  const Program& program_;
  const RunArgs& args_;
  const std::vector<Size>& sizes_;
  Rect out_;
  uint8_t* work_;
  size_t passing_row_bytes_;
  uint8_t* passing_;
  uint8_t* scratch_;
  std::vector<Ring> rings_;
};

void require(bool ok, const std::string& message) {
  if (!ok) throw Error(ErrorCode::kValue, message);
}

std::string size_text(int height, int width) { return std::to_string(height) + " x " + std::to_string(width); }

}  // namespace

Range input_range(const Op& op, int which, Range out) {
  const int lo = out.lo, last = out.hi - 1;
  if (which == 1) return out;  // `add` and the base of residual
  switch (op.kind) {
    case OpKind::kConv: {
      const int s = op.conv.stride, r = op.conv.kernel / 2;
      return {lo * s - r, last * s + r + 1};
    }
    case OpKind::kPixelUnshuffle: return {2 * lo, 2 * last + 2};
    case OpKind::kPixelShuffle: return {lo / 2, last / 2 + 1};
    case OpKind::kBicubicUp2: return {lo / 2 - 2, last / 2 + 3};
    case OpKind::kBicubicDown2: return {2 * lo - 3, 2 * last + 5};
    default: return out;
  }
}

void check_run(const Program& program, const RunArgs& args) {
  require(args.height >= 1 && args.width >= 1 && args.height <= kMaxImageSide && args.width <= kMaxImageSide,
          "image must have sides of 1 to " + std::to_string(kMaxImageSide) + ", got " + size_text(args.height, args.width));
  require(args.level >= 0 && args.level < program.n_levels(),
          "level must be 0 to " + std::to_string(program.n_levels() - 1) + ", got " + std::to_string(args.level));
  const Op& store = program.ops().back();
  const Op& result = program.ops()[store.in[0]];
  const bool is_residual = result.kind == OpKind::kResidual;
  for (const int input : {is_residual ? result.in[0] : store.in[0], is_residual ? result.in[1] : store.in[0]}) {
    const Scale& scale = program.ops()[input].scale;
    const int height = scale.apply(args.height), width = scale.apply(args.width);
    const int spare = is_residual ? 1 : (1 << scale.ups) - 1;  // else the image could have had one pixel less
    require(args.out_height >= 1 && args.out_width >= 1 && args.out_height <= height && args.out_width <= width &&
                args.out_height >= height - spare && args.out_width >= width - spare,
            "out_size must be " + size_text(height, width) + (spare ? " or up to " + std::to_string(spare) + " less a side" : "") +
                " for an image of " + size_text(args.height, args.width) + ", got " +
                size_text(args.out_height, args.out_width));
  }
  require(args.n_cols >= 1 && args.n_rows >= 1 && args.x >= 0 && args.y >= 0 && args.n_cols <= args.out_width &&
              args.n_rows <= args.out_height && args.x <= args.out_width - args.n_cols &&
              args.y <= args.out_height - args.n_rows,
          "region (x, y, width, height) must be a non-empty part of the " + size_text(args.out_height, args.out_width) +
              " result, got (" + std::to_string(args.x) + ", " + std::to_string(args.y) + ", " +
              std::to_string(args.n_cols) + ", " + std::to_string(args.n_rows) + ")");
}

size_t work_space_bytes(const Program& program, const RunArgs& args) {
  check_run(program, args);
  const Plan plan = make_plan(program, args);
  return plan.bytes_per_thread * plan.n_threads;
}

void run_program(const Program& program, const RunArgs& args) {
  check_run(program, args);
  const Plan plan = make_plan(program, args);
  const size_t bytes = plan.bytes_per_thread * plan.n_threads;
  if (args.max_memory_bytes && bytes > args.max_memory_bytes) {
    throw Error(ErrorCode::kLimit, "work space of " + std::to_string(bytes) + " bytes is more than the limit of " +
                                       std::to_string(args.max_memory_bytes) + "; use fewer threads or raise the limit");
  }
  const AlignedBytes work = allocate_aligned(bytes);
  const size_t n_strips = plan.strips.size();
  parallel_for(plan.bands.size() * n_strips, plan.n_threads, [&](size_t i, int worker) {
    const Rect out{plan.bands[i / n_strips], plan.strips[i % n_strips]};
    Task(program, args, plan, out, work.get() + plan.bytes_per_thread * worker).run();
  });
}

}  // namespace fastcodec

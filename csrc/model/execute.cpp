// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Running a program as a stream of rows, as row_plan.h plans it.
//
// A passing value, which one 1x1 convolution alone reads, has no ring: that convolution makes it with its own rows, a chunk
// of columns at a time, and so it never leaves the L1 cache. Several in a row make a chain.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "common/error.h"
#include "common/parallel.h"
#include "model/program.h"
#include "model/row_plan.h"

namespace fastcodec {
namespace {

constexpr size_t kMaxKeptBytes = size_t{64} << 20;

// What the tasks tell one another about the seams.
class Seams {
 public:
  enum State { kEmpty, kFilled, kRead };
  explicit Seams(size_t n) : states_(n, kEmpty) {}

  void reach(size_t seam, State state) {
    const std::lock_guard<std::mutex> hold(lock_);
    states_[seam] = std::max(states_[seam], state);
    changed_.notify_all();
  }
  void wait(size_t seam, State state) {
    std::unique_lock<std::mutex> hold(lock_);
    changed_.wait(hold, [&] { return states_[seam] >= state; });
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  std::vector<State> states_;
};

// One side of a seam as a task sees it: the rows of each value in it and where they lie.
struct SeamView {
  const std::vector<Range>* rows = nullptr;  // null: no seam here
  size_t index = 0;                          // in Seams
  uint8_t* data = nullptr;
  std::vector<size_t> offset;                // of each value's first row

  bool has(int i, int y) const { return rows && y >= (*rows)[i].lo && y < (*rows)[i].hi; }
};

// However the task of a band ends, even before it has begun, nobody shall wait for it.
struct Release {
  Seams* seams;
  size_t above, below;  // in Seams
  bool has_above, has_below;

  ~Release() {
    if (has_above) seams->reach(above, Seams::kFilled);
    if (has_below) seams->reach(below, Seams::kRead);
  }
};

// One band of one strip.
class Task {
 public:
  Task(const Program& program, const RunArgs& args, const RowPlan& plan, size_t strip, size_t band, uint8_t* work,
       uint8_t* seam_space, Seams* seams)
      : program_(program), args_(args), sizes_(plan.sizes), band_(plan.bands[band]), cols_(plan.strips[strip]), work_(work),
        seams_(seams) {
    size_t bytes = 0;
    rings_ = lay_out_rings(program, sizes_, cols_, plan.ring_rows, &bytes);
    const size_t n_seams = plan.bands.size() - 1;
    auto view = [&](size_t boundary) {
      SeamView seam{&plan.bands[boundary + 1].kept, strip * n_seams + boundary, nullptr, {}};
      seam.data = seam_space + (strip % plan.n_seam_slots * n_seams + boundary) * plan.seam_bytes;
      size_t offset = 0;
      for (size_t i = 0; i < rings_.size(); ++i) {
        seam.offset.push_back(offset);
        offset += rings_[i].row_bytes * ((*seam.rows)[i].hi - (*seam.rows)[i].lo);
      }
      return seam;
    };
    if (band > 0) above_ = view(band - 1);
    if (band < n_seams) below_ = view(band);
    if (band > 0 && strip >= static_cast<size_t>(plan.n_seam_slots)) {
      seams->wait(above_.index - plan.n_seam_slots * n_seams, Seams::kRead);  // who had this slot before
    }
    passing_row_bytes_ = passing_row_bytes(program);
    passing_ = work + rings_.back().offset + rings_.back().row_bytes * rings_.back().n_rows;
    scratch_ = passing_ + 2 * kMaxRows * passing_row_bytes_;
  }

  void run() {
    int n_kept = 0;
    for (size_t i = 0; above_.rows && i < rings_.size(); ++i) n_kept += (*above_.rows)[i].hi - (*above_.rows)[i].lo;
    stream_rows(program_, sizes_, band_, [&](int i, int first, int n, const std::vector<int>&) {
      produce(i, first, n);
      if (i == static_cast<int>(rings_.size())) return;  // stored
      for (int y = first; y < first + n; ++y) {
        pad_row(i, y);
        if (!above_.has(i, y)) continue;
        std::memcpy(seam_row(above_, i, y), ring_row(i, y), rings_[i].row_bytes);
        if (--n_kept == 0) seams_->reach(above_.index, Seams::kFilled);
      }
    });
  }

 private:
  uint8_t* ring_row(int i, int y) const {
    const Ring& ring = rings_[i];
    return work_ + ring.offset + ring.row_bytes * (y % ring.n_rows);
  }
  uint8_t* seam_row(const SeamView& seam, int i, int y) const {
    return seam.data + seam.offset[i] + rings_[i].row_bytes * (y - (*seam.rows)[i].lo);
  }

  // Pixel x of row y of value i, the row clamped to the image; of the band below, if that makes the row.
  uint8_t* at(int i, int y, int x) {
    const Ring& ring = rings_[i];
    y = std::clamp(y, 0, sizes_[i].height - 1);
    const bool is_below = below_.has(i, y);
    if (is_below && !waited_) {
      seams_->wait(below_.index, Seams::kFilled);
      waited_ = true;
    }
    return (is_below ? seam_row(below_, i, y) : ring_row(i, y)) + ring.left_bytes +
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
    const size_t bytes = op.pixel_bytes(), n_cols = cols_.hi - cols_.lo;
    uint8_t* out = args_.out + (static_cast<size_t>(y - args_.y) * args_.n_cols + (cols_.lo - args_.x)) * bytes;
    const uint8_t* in = at(op.in[0], y, cols_.lo);
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
    for (const ConvPart& part : op.parts) {
      if (&part != &op.parts[0]) {  // the channels of the next group
        for (int k = 0; k < (n - 1) * shape.stride + shape.kernel; ++k) in[k] += part.conv.in_channels * (shape.wide ? 2 : 1);
        for (int k = 0; k < n; ++k) {
          out[k] = static_cast<uint8_t*>(out[k]) + part.conv.out_channels * op.element_bytes();
          if (added) add[k] = static_cast<const uint8_t*>(add[k]) + part.conv.out_channels * added->element_bytes();
        }
      }
      program_.kernels().conv({part.conv, part.packed.get(), level_row(part.bias), level_row(part.mult), in, out, op.type,
                               op.pixel, added ? add : nullptr, added ? added->type : Dtype::kU8, added ? added->pixel : 0, n,
                               cols.hi - cols.lo, scratch_});
    }
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
      case OpKind::kLookup:
        return kernels.lookup(at(input, y, x), in.pixel, op.channels, op.table.data(), op.table.size() > 256, out, op.pixel,
                              n_cols);
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
  const Band& band_;
  const Range cols_;
  uint8_t* work_;
  size_t passing_row_bytes_;
  uint8_t* passing_;
  uint8_t* scratch_;
  std::vector<Ring> rings_;
  Seams* seams_;
  SeamView above_, below_;
  bool waited_ = false;  // for the seam below
};

// What a thread that runs programs keeps from one call to the next, because fresh pages cost up to a fifth of a call. What is
// read before it is written means nothing (kernels.h).
struct WorkSpace {
  AlignedBytes data;
  size_t size = 0;

  void grow(size_t n_bytes) {
    if (n_bytes <= size && size <= kMaxKeptBytes) return;
    *this = {};  // so that there are never both
    data = allocate_aligned_raw(n_bytes);
    size = n_bytes;
  }
};

WorkSpace& work_space() {
  thread_local WorkSpace space;
  return space;
}

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
  return make_row_plan(program, args).bytes();
}

void run_program(const Program& program, const RunArgs& args) {
  check_run(program, args);
  const RowPlan plan = make_row_plan(program, args);
  const size_t bytes = plan.bytes();
  if (args.max_memory_bytes && bytes > args.max_memory_bytes) {
    throw Error(ErrorCode::kLimit, "work space of " + std::to_string(bytes) + " bytes is more than the limit of " +
                                       std::to_string(args.max_memory_bytes) + "; use fewer threads or raise the limit");
  }
  WorkSpace& work = work_space();
  work.grow(bytes);
  uint8_t* const seam_space = work.data.get() + plan.bytes_per_thread * plan.n_threads;
  const size_t n_bands = plan.bands.size();
  Seams seams((n_bands - 1) * plan.strips.size());
  // In this order a task waits for tasks begun before it only: bands from the lowest to the topmost, strip after strip.
  parallel_for(n_bands * plan.strips.size(), plan.n_threads, [&](size_t i, int worker) {
    const size_t strip = i / n_bands, band = n_bands - 1 - i % n_bands, seam = strip * (n_bands - 1) + band;
    const Release release{&seams, seam - 1, seam, band > 0, band + 1 < n_bands};
    Task(program, args, plan, strip, band, work.data.get() + plan.bytes_per_thread * worker, seam_space, &seams).run();
  });
  if (bytes > kMaxKeptBytes) work = {};
}

}  // namespace fastcodec

// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// Tiles of the `range` codec in fastcodec._core; range_codec.py makes the arguments. Arrays are checked here for type,
// shape and memory order, and the GIL is free while they are worked on.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "codec/range_coder.h"
#include "codec/range_tile.h"
#include "common/error.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace fastcodec {
namespace {

// A dense array of T; -1 in `shape` is any length.
template <class T>
const T* dense(const py::array& array, const char* name, std::initializer_list<py::ssize_t> shape) {
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  std::string expected;
  py::ssize_t axis = 0;
  for (const py::ssize_t n : shape) {
    fits = fits && (n < 0 || array.shape(axis) == n);
    expected += (axis++ ? ", " : "") + (n < 0 ? std::string("any") : std::to_string(n));
  }
  constexpr int kAligned = py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  if (!array.dtype().is(py::dtype::of<T>()) || !(array.flags() & py::array::c_style) || !(array.flags() & kAligned)) {
    throw Error(ErrorCode::kType, std::string(name) + " must be a C-contiguous " + py::str(py::dtype::of<T>()).cast<std::string>() +
                                      " array, got " + py::str(array.dtype()).cast<std::string>() + "; use numpy.ascontiguousarray");
  }
  if (!fits) {
    throw Error(ErrorCode::kValue, std::string(name) + " must have the shape (" + expected + "), got " +
                                       py::str(py::tuple(array.attr("shape"))).cast<std::string>());
  }
  return static_cast<const T*>(array.data());
}
template <class T>
T* dense_out(py::array& array, const char* name, std::initializer_list<py::ssize_t> shape) {
  dense<T>(array, name, shape);
  return static_cast<T*>(array.mutable_data());
}

py::buffer_info bytes_of(const py::buffer& tile) {
  py::buffer_info bytes = tile.request();
  if (bytes.ndim != 1 || bytes.itemsize != 1 || bytes.strides[0] != 1) {
    throw Error(ErrorCode::kType, "tile must be contiguous bytes; use bytes(tile)");
  }
  return bytes;
}

LatentPass latent_pass(const py::array& prior, const py::array& y_hat, int pass, int passes, int skip, const RangeTables& tables) {
  dense<int16_t>(y_hat, "y_hat", {-1, -1, -1});
  const py::ssize_t h = y_hat.shape(0), w = y_hat.shape(1), channels = y_hat.shape(2);
  if (h > 1 << 20 || w > 1 << 20 || channels > 1 << 15) throw Error(ErrorCode::kValue, "y_hat is too large");
  if ((passes != 1 && passes != 2 && passes != 4) || pass < 0 || pass >= passes) {
    throw Error(ErrorCode::kValue, "pass must be one of 1, 2 or 4 passes");
  }
  if (skip < 0 || skip >= tables.size()) throw Error(ErrorCode::kValue, "skip must be a table's number");
  return {dense<int16_t>(prior, "prior", {h, w, 2 * channels}), static_cast<int>(h), static_cast<int>(w), static_cast<int>(channels),
          pass, passes, skip, tables.size()};
}

constexpr size_t kSlack = 64;  // the coder works in whole rows

class TileEncoder {
 public:
  TileEncoder(const RangeTables& tables, const std::string& backend) : tables_(tables), encoder_(tables, range_kernels(backend)) {}

  void hyper(const py::array& z, const py::array& index) {
    const int16_t* symbols = dense<int16_t>(z, "z", {-1, -1, -1});
    const size_t channels = static_cast<size_t>(z.shape(2)), n = static_cast<size_t>(z.size());
    const uint8_t* row = dense<uint8_t>(index, "index", {z.shape(2)});
    const py::gil_scoped_release unlocked;
    std::vector<uint8_t> all(n);
    for (size_t i = 0; i < n; i += channels) std::copy_n(row, channels, all.data() + i);
    encoder_.add(symbols, all.data(), n);
  }

  void latents(const py::array& y, const py::array& prior, int pass, int passes, int skip, const py::array& quant,
               const py::array& dequant, const py::array& thresholds, py::array y_hat) {
    const LatentPass p = latent_pass(prior, y_hat, pass, passes, skip, tables_);
    const int16_t* in = dense<int16_t>(y, "y", {p.height, p.width, p.channels});
    const int32_t* scale = dense<int32_t>(quant, "quant", {p.channels});
    const int32_t* unscale = dense<int32_t>(dequant, "dequant", {p.channels});
    const uint8_t* limits = dense<uint8_t>(thresholds, "thresholds", {p.n_tables, kLatentThresholds});
    int16_t* out = dense_out<int16_t>(y_hat, "y_hat", {p.height, p.width, p.channels});
    const py::gil_scoped_release unlocked;
    const size_t room = latent_elements(p) + kSlack;
    const std::unique_ptr<uint8_t[]> index(new uint8_t[room]);
    const std::unique_ptr<int16_t[]> symbols(new int16_t[room]);
    const size_t n = latent_index(p, index.get());
    latent_quantise(p, in, scale, limits, symbols.get());
    symbols[n] = 0;
    encoder_.add(symbols.get(), index.get(), n);
    latent_scatter(p, symbols.get(), unscale, out);
  }

  py::bytes finish(size_t one_state_symbols) {
    std::vector<uint8_t> tile;
    {
      const py::gil_scoped_release unlocked;
      tile = encoder_.finish(one_state_symbols);
    }
    return py::bytes(reinterpret_cast<const char*>(tile.data()), tile.size());
  }

 private:
  const RangeTables& tables_;
  RangeTileEncoder encoder_;
};

class TileDecoder {
 public:
  TileDecoder(const py::buffer& tile, const RangeTables& tables, const std::string& backend)
      : tile_(bytes_of(tile)), tables_(tables),
        decoder_(static_cast<const uint8_t*>(tile_.ptr), static_cast<size_t>(tile_.size), tables, range_kernels(backend)) {}

  void hyper(const py::array& index, py::array z) {
    int16_t* out = dense_out<int16_t>(z, "z", {-1, -1, -1});
    const size_t channels = static_cast<size_t>(z.shape(2)), n = static_cast<size_t>(z.size());
    const uint8_t* row = dense<uint8_t>(index, "index", {z.shape(2)});
    const py::gil_scoped_release unlocked;
    make_room(n);
    for (size_t i = 0; i < n; i += channels) std::copy_n(row, channels, index_.get() + i);
    decoder_.take(index_.get(), n, false, symbols_.get());
    std::copy_n(symbols_.get(), n, out);
  }

  void latents(const py::array& prior, int pass, int passes, int skip, const py::array& dequant, py::array y_hat) {
    const LatentPass p = latent_pass(prior, y_hat, pass, passes, skip, tables_);
    const int32_t* unscale = dense<int32_t>(dequant, "dequant", {p.channels});
    int16_t* out = dense_out<int16_t>(y_hat, "y_hat", {p.height, p.width, p.channels});
    const py::gil_scoped_release unlocked;
    make_room(latent_elements(p));
    const size_t n = latent_index(p, index_.get());
    decoder_.take(index_.get(), n, pass == passes - 1, symbols_.get());
    symbols_[n] = 0;
    latent_scatter(p, symbols_.get(), unscale, out);
  }

 private:
  void make_room(size_t n) {
    if (n <= room_) return;
    index_.reset(new uint8_t[n + kSlack]);
    symbols_.reset(new int16_t[n + kSlack]);
    room_ = n;
  }

  py::buffer_info tile_;  // keeps the bytes
  const RangeTables& tables_;
  RangeTileDecoder decoder_;
  std::unique_ptr<uint8_t[]> index_;
  std::unique_ptr<int16_t[]> symbols_;
  size_t room_ = 0;
};

}  // namespace

void bind_tile(py::module_& m) {
  py::class_<TileEncoder>(m, "TileEncoder", "Makes the bytes of one tile of the range codec: hyper(), latents() of each pass, finish().")
      .def(py::init<const RangeTables&, const std::string&>(), py::arg("tables"), py::arg("backend") = "", py::keep_alive<1, 2>())
      .def("hyper", &TileEncoder::hyper, py::arg("z"), py::arg("index"), "z int16 [h, w, Z] with table index[c] uint8 [Z].")
      .def("latents", &TileEncoder::latents, py::arg("y"), py::arg("prior"), py::arg("pass_"), py::arg("passes"), py::arg("skip"),
           py::arg("quant"), py::arg("dequant"), py::arg("thresholds"), py::arg("y_hat"),
           "One pass over y int16 [h, w, M] with prior int16 [h, w, 2 M], quant and dequant int32 [M], thresholds uint8 "
           "[tables, 16]; fills in the pass's elements of y_hat int16 [h, w, M].")
      .def("finish", &TileEncoder::finish, py::arg("one_state_symbols") = kRangeOneStateSymbols,
           "The bytes; one state codes up to so many symbols, 32 lanes more.");
  py::class_<TileDecoder>(m, "TileDecoder", "Reads one tile of the range codec: hyper(), then latents() of each pass.")
      .def(py::init<const py::buffer&, const RangeTables&, const std::string&>(), py::arg("tile"), py::arg("tables"),
           py::arg("backend") = "", py::keep_alive<1, 3>(), "Raises FormatError.")
      .def("hyper", &TileDecoder::hyper, py::arg("index"), py::arg("z"), "Fills z int16 [h, w, Z]. Raises FormatError.")
      .def("latents", &TileDecoder::latents, py::arg("prior"), py::arg("pass_"), py::arg("passes"), py::arg("skip"), py::arg("dequant"),
           py::arg("y_hat"), "Fills in the pass's elements of y_hat int16 [h, w, M]. Raises FormatError.");
}

}  // namespace fastcodec

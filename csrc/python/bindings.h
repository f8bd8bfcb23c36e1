// SPDX-FileCopyrightText: 2026 fastcodec authors
// SPDX-License-Identifier: Apache-2.0
//
// One function for each file of bindings; module.cpp calls them.
#pragma once

#include <pybind11/pybind11.h>

namespace fastcodec {

void bind_program(pybind11::module_& m);
void bind_rans(pybind11::module_& m);
void bind_tile(pybind11::module_& m);  // after bind_rans, whose tables it takes

}  // namespace fastcodec

# How LANrage's parts are declared. One call per module, sources listed, no globs.

# What every target of ours is compiled with; third-party targets are not touched.
add_library(lanrage_options INTERFACE)
target_compile_options(lanrage_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion
  -fstack-protector-strong -fno-plt)
target_include_directories(lanrage_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  target_compile_definitions(lanrage_options INTERFACE _FORTIFY_SOURCE=2 _GLIBCXX_ASSERTIONS)
  target_link_options(lanrage_options INTERFACE -Wl,-z,relro,-z,now)
endif()
if(LANRAGE_SANITIZE)
  target_compile_options(lanrage_options INTERFACE -fsanitize=${LANRAGE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(lanrage_options INTERFACE -fsanitize=${LANRAGE_SANITIZE})
  target_compile_definitions(lanrage_options INTERFACE LANRAGE_SANITIZED)  # for the length of simulations
endif()
if(LANRAGE_FUZZ)
  target_compile_options(lanrage_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# lanrage_module(NAME
#   SOURCES a.cc ...        the library lanrage::NAME
#   DEPS base wire ...      the modules it may include
#   LIBS targets ...        third parties, named by this module alone (PRIVATE)
#   PUBLIC_LIBS targets ... third parties that its headers name
#   TESTS a_test.cc ...     one binary NAME_test, linked to the module and its DEPS only
#   FUZZ a_fuzz.cc ...)     one target each; without libFuzzer it replays fuzz/corpus/a in ctest
function(lanrage_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS;LIBS;PUBLIC_LIBS;TESTS;FUZZ" ${ARGN})
  add_library(lanrage_${name} STATIC ${arg_SOURCES})
  add_library(lanrage::${name} ALIAS lanrage_${name})
  list(TRANSFORM arg_DEPS PREPEND lanrage:: OUTPUT_VARIABLE deps)
  target_link_libraries(lanrage_${name} PUBLIC ${deps} ${arg_PUBLIC_LIBS} PRIVATE lanrage_options ${arg_LIBS})
  target_include_directories(lanrage_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
  if(NOT LANRAGE_TESTS)
    return()
  endif()
  if(arg_TESTS)
    lanrage_test(${name}_test SOURCES ${arg_TESTS} MODULES ${name} ${arg_DEPS})
  endif()
  foreach(source IN LISTS arg_FUZZ)
    get_filename_component(target ${source} NAME_WE)
    string(REGEX REPLACE "_fuzz$" "" subject ${target})
    add_executable(${target} ${source})
    target_link_libraries(${target} PRIVATE lanrage_options lanrage::${name} ${deps})
    if(LANRAGE_FUZZ)
      target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    else()
      target_sources(${target} PRIVATE ${CMAKE_SOURCE_DIR}/fuzz/replay.cc)
      add_test(NAME ${target} COMMAND ${target} ${CMAKE_SOURCE_DIR}/fuzz/corpus/${subject})
    endif()
  endforeach()
endfunction()

# lanrage_test(NAME SOURCES ... MODULES ... [LIBS ...] [LABELS ...])
function(lanrage_test name)
  cmake_parse_arguments(arg "" "" "SOURCES;MODULES;LIBS;LABELS" ${ARGN})
  list(TRANSFORM arg_MODULES PREPEND lanrage::)
  add_executable(${name} ${arg_SOURCES})
  target_link_libraries(${name} PRIVATE lanrage_options ${arg_MODULES} ${arg_LIBS} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} --gtest_brief=1)
  set_tests_properties(${name} PROPERTIES TIMEOUT 300 LABELS "unit;${arg_LABELS}")
endfunction()

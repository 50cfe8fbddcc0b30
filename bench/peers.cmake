# The peers of bench-peers: which can be built, found out from the "Needs:" line of each file in
# bench/peers, and a source that lists them. Those that need a library are tried with TUSK_PEERS only.
option(TUSK_PEERS "Build the peers of bench-peers whose libraries are found" OFF)

# peer_find(NEEDS TARGET FOUND): FOUND becomes whether the library is there, TARGET what to link.
function(peer_find needs target found)
    separate_arguments(words UNIX_COMMAND "${needs}")
    list(GET words 0 kind)
    set(${found} TRUE PARENT_SCOPE)
    set(${target} "" PARENT_SCOPE)
    if(kind STREQUAL "nothing")
        return()
    endif()
    list(GET words 1 name)
    if(NOT TUSK_PEERS)
        set(${found} FALSE PARENT_SCOPE)
    elseif(kind STREQUAL "pkg-config")
        find_package(PkgConfig REQUIRED)
        pkg_check_modules(PEER_${name} QUIET IMPORTED_TARGET ${name})
        set(${found} ${PEER_${name}_FOUND} PARENT_SCOPE)
        set(${target} PkgConfig::PEER_${name} PARENT_SCOPE)
    elseif(kind STREQUAL "cmake")
        find_package(${name} QUIET)
        set(${found} ${${name}_FOUND} PARENT_SCOPE)
        set(${target} ${name}::${name} PARENT_SCOPE)
    elseif(kind STREQUAL "header")
        list(GET words 3 library)
        find_path(PEER_${library}_HEADER ${name} PATH_SUFFIXES aeron)
        find_library(PEER_${library}_LIBRARY ${library})
        mark_as_advanced(PEER_${library}_HEADER PEER_${library}_LIBRARY)
        if(PEER_${library}_HEADER AND PEER_${library}_LIBRARY)
            if(NOT TARGET peer_${library})
                add_library(peer_${library} INTERFACE IMPORTED)
                target_include_directories(peer_${library} INTERFACE ${PEER_${library}_HEADER})
                target_link_libraries(peer_${library} INTERFACE ${PEER_${library}_LIBRARY})
            endif()
            set(${target} peer_${library} PARENT_SCOPE)
        else()
            set(${found} FALSE PARENT_SCOPE)
        endif()
    else()
        message(FATAL_ERROR "Needs: '${needs}', expected nothing, pkg-config, cmake or header")
    endif()
endfunction()

file(GLOB peer_files CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/peers/*.c)
set(peer_sources)
set(peer_libraries)
set(peer_declared)
set(peer_built)
set(peer_absent)
foreach(file IN LISTS peer_files)
    get_filename_component(name ${file} NAME_WE)
    file(STRINGS ${file} needs REGEX "^ [*] Needs: " LIMIT_COUNT 1)
    file(STRINGS ${file} packages REGEX "^ [*] Packages: " LIMIT_COUNT 1)
    string(REGEX REPLACE "^ [*] Needs: +" "" needs "${needs}")
    string(REGEX REPLACE "^ [*] Packages: +" "" packages "${packages}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    peer_find("${needs}" library found)
    if(found)
        list(APPEND peer_sources ${file})
        list(APPEND peer_libraries ${library})
        string(APPEND peer_declared "extern const struct peer peer_${name};\n")
        string(APPEND peer_built "    &peer_${name},\n")
    elseif(TUSK_PEERS)
        string(APPEND peer_absent
            "    {\"${name}\", \"built without ${needs} (packages of Debian: ${packages})\"},\n")
    else()
        string(APPEND peer_absent
            "    {\"${name}\", \"built without peers that need libraries (-DTUSK_PEERS=ON)\"},\n")
    endif()
endforeach()

file(CONFIGURE OUTPUT peer_list.c @ONLY CONTENT [[
/* Made by bench/peers.cmake from the files in bench/peers. */
#include "bench/peer.h"

@peer_declared@
const struct peer *const peers_built[] = {
@peer_built@};
const size_t peers_built_count = sizeof peers_built / sizeof *peers_built;

const struct peer_absent peers_absent[] = {
@peer_absent@    {NULL, NULL}};
const size_t peers_absent_count = sizeof peers_absent / sizeof *peers_absent - 1;
]])

tusk_add_bench(bench-peers bench_peers.c peer.c peer_server.c peer_trial.c ${peer_sources}
    ${CMAKE_CURRENT_BINARY_DIR}/peer_list.c)
if(TARGET bench-peers)
    target_link_libraries(bench-peers PRIVATE ${peer_libraries} rt)
endif()

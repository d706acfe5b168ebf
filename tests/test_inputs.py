"""Index of the tests of what people have: issue 13's list A, line by line. docs/inputs.md describes the inputs.

A line has tests of the library and, where there is one, of each of its doors: command line, server, page.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

LINES = {
    "A1, holes": """
        upsamplers/test_holes.py::test_what_stands_in_holes_changes_nothing
        upsamplers/test_holes.py::test_valid_everywhere_is_no_mask
        upsamplers/test_holes.py::test_kernels_are_renormalised_over_valid_cells
        upsamplers/test_holes.py::test_averages_over_valid_pixels
        upsamplers/test_holes.py::test_depth_with_a_third_of_holes_keeps_its_edges
        upsamplers/test_holes.py::test_confidence_says_where_holes_are
        upsamplers/test_holes.py::test_pixels_far_from_valid_cells_are_kept_as_holes
        cli/test_upsample.py::test_holes_do_not_count
        cli/test_upsample.py::test_a_geotiff_says_which_number_stands_for_holes
        cli/test_upsample.py::test_void_labels_are_ignored
        cli/test_upsample.py::test_holes_may_be_kept
        web/test_inputs.py::test_what_the_command_line_gives
    """,
    "A2, tokens": """
        upsamplers/test_layouts.py::test_tokens
        upsamplers/test_layouts.py::test_tokens_of_any_grid_are_read_where_it_is_given
        upsamplers/test_layouts.py::test_render_reads_by_its_grid
        cli/test_upsample.py::test_tokens_and_channels_last
        web/test_inputs.py::test_what_the_command_line_gives
    """,
    "A3, channels last": """
        upsamplers/test_layouts.py::test_channels_last
        upsamplers/test_layouts.py::test_a_declared_layout_is_taken
        upsamplers/test_layouts.py::test_what_fits_in_no_way_or_in_two_is_refused
        upsamplers/test_layouts.py::test_images_whose_channels_come_first_or_last
        cli/test_upsample.py::test_tokens_and_channels_last
        web/test_upsample.py::test_a_picture_s_channels_come_first
    """,
    "A4, many at once, and parts": """
        upsamplers/test_upsample.py::test_one_image_may_serve_many_signals
        upsamplers/test_upsampling.py::test_lists_of_images_of_any_sizes
        upsamplers/test_upsampling.py::test_several_signals_of_each_image
        upsamplers/test_upsampling.py::test_padding_is_left_out
        upsamplers/test_upsampling.py::test_a_crop_is_upsampled_by_its_part_of_the_image
        upsamplers/test_scattered.py::test_errors_are_smaller_than_those_of_the_nearest_measurement
        files/test_run_lengths.py::test_every_mask_comes_back
        cli/test_upsample.py::test_a_padded_picture
        cli/test_upsample.py::test_a_crop
        cli/test_upsample.py::test_masks_as_coco_s_run_lengths
        cli/test_upsample.py::test_depth_of_a_lidar
        web/test_inputs.py::test_a_padded_picture
        web/test_inputs.py::test_a_mask_as_run_lengths
        web/test_inputs.py::test_depth_of_a_lidar
        web/test_page.py::test_own_bands_guide_and_what_was_decided_is_said
        web/test_page.py::test_own_mask_as_run_lengths
    """,
    "A5, types": """
        upsamplers/test_types.py::test_a_mask_comes_back_as_one
        upsamplers/test_types.py::test_masks_of_numpy
        upsamplers/test_types.py::test_taken
        upsamplers/test_types.py::test_refused_in_one_line
        upsamplers/test_types.py::test_vmap_is_refused_in_one_line
        cli/test_upsample.py::test_a_mask_of_two_values_comes_back_as_one
    """,
    "A6, almost 0..1": """
        upsamplers/test_types.py::test_what_resizing_overshoots_is_clamped_with_a_note
        upsamplers/test_types.py::test_other_units_are_refused_with_the_remedy
    """,
    "A7, files": """
        upsamplers/test_types.py::test_bands_are_scaled_one_by_one
        upsamplers/test_types.py::test_a_satellite_s_bands_guide
        files/test_guidance.py::test_pages_and_frames
        files/test_guidance.py::test_pages_of_a_stack_and_smaller_versions
        files/test_guidance.py::test_bands_of_a_tiff
        files/test_guidance.py::test_float_tiff_of_any_unit
        files/test_guidance.py::test_arrays
        files/test_guidance.py::test_16_bit_colour_keeps_every_step
        files/test_guidance.py::test_exr_keeps_linear_light
        files/test_guidance.py::test_radiance_keeps_linear_light
        files/test_guidance.py::test_heic
        files/test_guidance.py::test_avif
        files/test_guidance.py::test_orientations_turn_back
        files/test_guidance.py::test_hidden_files_and_folders_are_no_pictures
        files/test_signals.py::test_nothing_is_ever_unpickled
        cli/test_upsample.py::test_bands_of_a_satellite_guide
        cli/test_upsample.py::test_a_picture_in_colour_is_a_measurement
        cli/test_upsample.py::test_depth_in_a_png
        cli/test_upsample.py::test_a_signal_of_the_stored_picture
        cli/test_upsample.py::test_a_tiff_that_pillow_does_not_know
        cli/test_labels.py::test_classes_in_colour
        cli/test_labels.py::test_alpha_is_a_mask_where_one_is_asked_for
        cli/test_restore.py::test_alpha_is_kept
        web/test_restore.py::test_alpha_is_kept
        web/test_inputs.py::test_bands_of_a_sensor_guide
        web/test_inputs.py::test_a_turned_picture_with_the_signal_of_the_stored_one
    """,
    "A8, the base model of restoration": """
        restoration/test_base_model.py::test_sources_are_tried_in_order
        restoration/test_base_model.py::test_a_refusal_says_what_has_happened_and_names_the_others
        restoration/test_base_model.py::test_weights_that_change_after_the_first_download_are_refused
        restoration/test_base_model.py::test_the_published_adapter_is_in_a_record_too
        restoration/test_base_model.py::test_the_licence_is_stated_once_where_the_published_adapter_is_loaded
        restoration/test_base_model.py::test_the_command_takes_sources_from_an_endpoint
        cli/test_restore.py::test_another_format_makes_no_folder
        cli/test_serve.py::test_sources_of_the_base_model
        cli/test_about.py::test_info
        web/test_restore.py::test_the_published_model_from_a_folder
    """,
    "A9, autocast, compilation and the limits of types": """
        mixing/test_dtypes.py::test_autocast_changes_nothing
        upsamplers/test_surroundings.py::test_autocast_changes_nothing
        upsamplers/test_surroundings.py::test_upsampling_can_be_compiled
        upsamplers/test_surroundings.py::test_anyup_can_be_compiled
        upsamplers/test_surroundings.py::test_the_largest_and_smallest_numbers_are_scaled_ones
        upsamplers/test_surroundings.py::test_what_overshoots_a_dtype_is_clamped
    """,
    "A10, images of a batch": """
        upsamplers/test_two_phases.py::test_images_do_not_influence_each_other
        upsamplers/test_two_phases.py::test_an_image_without_probabilities_leaves_its_neighbours_alone
        upsamplers/test_holes.py::test_images_of_a_batch_have_masks_of_their_own
    """,
}


def test_every_line_is_there():
    assert [name.partition(",")[0] for name in LINES] == [f"A{number}" for number in range(1, 11)]


@pytest.mark.parametrize("line", LINES)
def test_the_tests_exist(line):
    named = [test.partition("::") for test in LINES[line].split()]
    assert named
    for path, _, name in named:
        defined = {
            node.name for node in ast.parse((TESTS / path).read_text()).body if isinstance(node, ast.FunctionDef)
        }
        assert name in defined, f"{path} has no {name}"

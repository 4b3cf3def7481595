@echo off
rem Protect Face for Lightroom: an export action. Each result goes beside the exported photo.
set C2P="c2p"
%C2P% protect -- %*
if errorlevel 1 pause

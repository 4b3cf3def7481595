-- Protect Face for Lightroom on a Mac: an export action. Each result goes beside the exported photo.
property c2p : "c2p"

on open photos
	set paths to ""
	repeat with photo in photos
		set paths to paths & " " & quoted form of POSIX path of photo
	end repeat
	try
		do shell script c2p & " protect --" & paths
		display notification "Done." with title "Protect Face"
	on error problem
		display alert "Protect Face" message problem
	end try
end open
